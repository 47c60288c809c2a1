import math

import pytest
import torch

from lmlab.errors import UserError
from lmlab.models.channels.geglu import GeGLU


@torch.no_grad()
def test_geglu_is_its_formula():
    channel = GeGLU(6, ratio=2.0, multiple=4).double()
    x = torch.randn(2, 6, dtype=torch.float64)
    gate, value = x @ channel.up.weight[:12].T, x @ channel.up.weight[12:].T
    expected = (gate * (1 + (gate / math.sqrt(2)).erf()) / 2 * value) @ channel.down.weight.T
    torch.testing.assert_close(channel(x), expected, rtol=0, atol=1e-12)


def test_an_inner_width_of_zero_is_refused():
    with pytest.raises(UserError, match=r"model\.channel\.ratio=0\.1: leaves no inner width"):
        GeGLU(16, ratio=0.1)
