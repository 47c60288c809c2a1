import pytest
import torch

from lmlab.models.mixers.short_convolution import ShortConvolution


@pytest.mark.parametrize("taps", [1, 2, 4])
@torch.no_grad()
def test_it_is_the_sum_over_the_last_taps_whole_or_in_pieces(taps):
    convolution = ShortConvolution(3, taps).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for t in range(7):
        for k in range(taps):
            if t - taps + 1 + k >= 0:
                expected[:, t] += convolution.weight[:, 0, k] * x[:, t - taps + 1 + k]
    expected += convolution.bias
    whole, after = convolution(x, None)
    torch.testing.assert_close(whole, expected)
    first, state = convolution(x[:, :2], None)
    second, state = convolution(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    assert torch.equal(state, after) and after[0].numel() == convolution.state_size()
