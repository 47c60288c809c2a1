import math

import pytest
import torch
from torch.nn.functional import softplus

from lmlab.errors import UserError
from lmlab.models.mixers.min_gru import MinGRU

B, T, D = 2, 9, 4


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def made(**options) -> tuple[MinGRU, torch.Tensor]:
    torch.manual_seed(0)
    mixer = MinGRU(D, **options).double()
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter)
    return mixer, torch.randn(B, T, D, dtype=torch.float64)


@pytest.mark.parametrize("candidate", ["positive", "linear"])
@torch.no_grad()
def test_it_is_the_cell_equations_step_by_step(candidate):
    """Feng et al. 2024, section 3.1, with g of appendix B where candidates are to be positive."""
    mixer, x = made(expansion=1.5, candidate=candidate)
    start = torch.rand(B, 6, dtype=torch.float64)
    y, (last,) = mixer(x, (start,))
    projected = x @ mixer.projection_in.weight.T + mixer.bias
    for b in range(B):
        h = start[b].tolist()
        for t in range(T):
            z, v = projected[b, t, :6].tolist(), projected[b, t, 6:].tolist()
            if candidate == "positive":
                v = [c + 0.5 if c >= 0 else sigmoid(c) for c in v]
            h = [(1 - sigmoid(z[i])) * h[i] + sigmoid(z[i]) * v[i] for i in range(6)]
            expected = torch.tensor(h, dtype=torch.float64) @ mixer.projection_out.weight.T
            torch.testing.assert_close(y[b, t], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[b], torch.tensor(h, dtype=torch.float64), rtol=0, atol=1e-12)


@torch.no_grad()
def test_it_is_the_papers_scan_of_logarithms():
    """Feng et al. 2024, appendix B: h_t = exp(a*_t + logcumsumexp(log b - a*)_t), a* = cumsum(log(1 - z))."""
    mixer, x = made()
    z, v = (x @ mixer.projection_in.weight.T + mixer.bias).chunk(2, -1)
    log_g = torch.where(v >= 0, (v.relu() + 0.5).log(), -softplus(-v))
    a_star = (-softplus(z)).cumsum(1)
    log_h = a_star + (-softplus(-z) + log_g - a_star).logcumsumexp(1)
    torch.testing.assert_close(mixer(x, None)[0], log_h.exp() @ mixer.projection_out.weight.T, rtol=0, atol=1e-12)


def test_a_convolution_before_it_is_part_of_the_state():
    mixer, x = made(taps=3)
    whole, after = mixer(x, None)
    first, state = mixer(x[:, :1], None)
    second, state = mixer(x[:, 1:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    assert sum(part[0].numel() for part in after) == mixer.state_size(T) == D + 2 * D
    assert torch.autograd.gradcheck(lambda x: mixer(x, None)[0], x[:1, :4].clone().requires_grad_())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expansion": 0.0}, r"model\.mixer\.expansion=0\.0: .*model\.width=4"),
        ({"taps": -1}, r"model\.mixer\.taps=-1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        MinGRU(D, **options)
