import math

import pytest
import torch

from lmlab.models.mixers.min_lstm import MinLSTM

B, T, D = 2, 9, 4


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("candidate", ["positive", "linear"])
@torch.no_grad()
def test_it_is_the_cell_equations_step_by_step(candidate):
    """Feng et al. 2024, section 3.2, with g of appendix B where candidates are to be positive."""
    torch.manual_seed(0)
    mixer = MinLSTM(D, expansion=1.5, candidate=candidate).double()
    for parameter in mixer.parameters():
        parameter.normal_()
    x, start = torch.randn(B, T, D, dtype=torch.float64), torch.rand(B, 6, dtype=torch.float64)
    y, (last,) = mixer(x, (start,))
    projected = x @ mixer.projection_in.weight.T + mixer.bias
    for b in range(B):
        h = start[b].tolist()
        for t in range(T):
            f, i, v = (projected[b, t, at : at + 6].tolist() for at in (0, 6, 12))
            f, i = [sigmoid(gate) for gate in f], [sigmoid(gate) for gate in i]
            if candidate == "positive":
                v = [c + 0.5 if c >= 0 else sigmoid(c) for c in v]
            h = [(f[c] * h[c] + i[c] * v[c]) / (f[c] + i[c]) for c in range(6)]
            expected = torch.tensor(h, dtype=torch.float64) @ mixer.projection_out.weight.T
            torch.testing.assert_close(y[b, t], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[b], torch.tensor(h, dtype=torch.float64), rtol=0, atol=1e-12)


def test_gates_that_are_both_shut_still_share_out_the_state():
    mixer = MinLSTM(D, forget_bias=-200.0)
    mixer.projection_in.weight.data.zero_()
    mixer.bias.data[D : 2 * D] = -200.0
    start = torch.full((1, D), 3.0)
    y, (h,) = mixer(torch.randn(1, 1, D), (start,))
    torch.testing.assert_close(h, (start + 0.5) / 2)  # g(0) = 1/2
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


@torch.no_grad()
def test_the_forget_bias_is_where_memory_starts():
    mixer = MinLSTM(D, forget_bias=2.0)
    a, b = mixer.recurrence(mixer.bias[None, None])
    kept = sigmoid(2.0) / (sigmoid(2.0) + 0.5)
    torch.testing.assert_close(a, torch.full_like(a, kept))
    torch.testing.assert_close(b, torch.full_like(b, (1 - kept) * 0.5))


def test_gradients_are_the_limits_of_differences():
    torch.manual_seed(0)
    mixer, x = MinLSTM(D).double(), torch.randn(1, 4, D, dtype=torch.float64, requires_grad=True)
    start = torch.rand(1, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, start: mixer(x, (start,))[0], (x, start))
