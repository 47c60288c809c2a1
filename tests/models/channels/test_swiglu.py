import pytest
import torch

from lmlab.models.channels.swiglu import SwiGLU


@torch.no_grad()
def test_swiglu_is_its_formula():
    channel = SwiGLU(6, ratio=2.0, multiple=4).double()
    x = torch.randn(2, 6, dtype=torch.float64)
    gate, value = x @ channel.up.weight[:12].T, x @ channel.up.weight[12:].T
    expected = (gate / (1 + (-gate).exp()) * value) @ channel.down.weight.T
    torch.testing.assert_close(channel(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "inner"), [(128, 344), (256, 680), (384, 1024), (768, 2048)])
def test_the_inner_width_is_a_multiple_near_eight_thirds(width, inner):
    assert SwiGLU(width).down.weight.shape == (width, inner)
