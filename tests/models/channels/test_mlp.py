import math

import pytest
import torch

from lmlab.models.channels.mlp import MLP


@pytest.mark.parametrize(("bias", "activation"), [(True, "gelu"), (False, "gelu"), (True, "relu")])
@torch.no_grad()
def test_mlp_is_its_formula(bias, activation):
    channel = MLP(6, ratio=1.5, bias=bias, activation=activation).double()
    x = torch.randn(2, 6, dtype=torch.float64)
    inner = x @ channel.up.weight.T + (channel.up.bias if bias else 0)
    inner = inner * 0.5 * (1 + torch.special.erf(inner / math.sqrt(2))) if activation == "gelu" else inner.clamp(min=0)
    expected = inner @ channel.down.weight.T + (channel.down.bias if bias else 0)
    assert inner.shape == (2, 9)
    torch.testing.assert_close(channel(x), expected, rtol=0, atol=1e-12)
