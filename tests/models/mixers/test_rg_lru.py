import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models.mixers.rg_lru import RGLRU

B, T, D = 2, 9, 6


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def made(**options) -> tuple[RGLRU, torch.Tensor]:
    torch.manual_seed(0)
    mixer = RGLRU(D, **options).double()
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            if name != "decay":
                parameter.normal_()
    return mixer, torch.randn(B, T, D, dtype=torch.float64)


@torch.no_grad()
def test_it_is_the_equations_step_by_step():
    """De et al. 2024, equations 1 to 4 between the two branches of section 2.3."""
    mixer, x = made(expansion=4 / 3, heads=2, taps=3)
    N, C = 8, 4
    y, (seen, last) = mixer(x, None)
    projected = x @ mixer.projection_in.weight.T
    for b in range(B):
        h, u = [0.0] * N, []
        for t in range(T):
            gate, new = projected[b, t, :N].tolist(), projected[b, t, N:].tolist()
            u.append(new)
            window = [[0.0] * N] * max(0, 2 - t) + u[-3:]
            v = [
                mixer.convolution.bias[c].item()
                + sum(mixer.convolution.weight[c, 0, k].item() * window[k][c] for k in range(3))
                for c in range(N)
            ]
            for c in range(N):
                head, out = divmod(c, C)
                r, i = (
                    sigmoid(
                        mixer.gates_bias[head * 2 * C + kind * C + out].item()
                        + sum(v[head * C + k] * mixer.gates[head, k, kind * C + out].item() for k in range(C))
                    )
                    for kind in (0, 1)
                )
                a = sigmoid(mixer.decay[c].item()) ** (8 * r)
                h[c] = a * h[c] + math.sqrt(1 - a * a) * i * v[c]
            gated = [g * 0.5 * (1 + math.erf(g / math.sqrt(2))) * s for g, s in zip(gate, h, strict=True)]
            expected = torch.tensor(gated, dtype=torch.float64) @ mixer.projection_out.weight.T
            torch.testing.assert_close(y[b, t], expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(last[b], torch.tensor(h, dtype=torch.float64), rtol=0, atol=1e-9)
        torch.testing.assert_close(seen[b], torch.tensor(u[-2:], dtype=torch.float64), rtol=0, atol=1e-12)


@torch.no_grad()
def test_it_is_the_recurrent_block_of_recurrent_gemma():
    """But for its first position, where that one does not scale what it adds; so positions count from 1 here."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

    mixer, x = made(expansion=2.0, heads=3, multiple=1)
    N, C = 12, 4
    config = transformers.RecurrentGemmaConfig(
        hidden_size=D, lru_width=N, num_attention_heads=3, conv1d_width=4, hidden_activation="gelu"
    )
    other = RecurrentGemmaRecurrentBlock(config, 0).double()
    for parameter in other.parameters():
        parameter.zero_()  # biases that this one has not
    other.linear_y.weight.copy_(mixer.projection_in.weight[:N])
    other.linear_x.weight.copy_(mixer.projection_in.weight[N:])
    other.linear_out.weight.copy_(mixer.projection_out.weight)
    other.conv_1d.weight.copy_(mixer.convolution.weight)
    other.conv_1d.bias.copy_(mixer.convolution.bias)
    other.rg_lru.recurrent_gate_weight.copy_(mixer.gates[:, :, :C])
    other.rg_lru.input_gate_weight.copy_(mixer.gates[:, :, C:])
    other.rg_lru.recurrent_gate_bias.copy_(mixer.gates_bias.view(3, 2 * C)[:, :C])
    other.rg_lru.input_gate_bias.copy_(mixer.gates_bias.view(3, 2 * C)[:, C:])
    other.rg_lru.recurrent_param.copy_(-mixer.decay)
    positions = torch.arange(1, T + 1).expand(B, T)
    expected, _ = other(x, positions, None, use_cache=False)
    torch.testing.assert_close(mixer(x, None)[0], expected, rtol=1e-5, atol=1e-5)  # that scan is in float32


@torch.no_grad()
def test_decay_starts_evenly_spread_over_the_papers_range():
    torch.manual_seed(0)
    power = RGLRU(3000).decay.double().sigmoid() ** 8
    assert 0.9 <= power.min() < 0.9005 and 0.9985 < power.max() <= 0.99901
    torch.testing.assert_close(
        power.sort().values, torch.linspace(0.9, 0.999, len(power), dtype=torch.float64), rtol=0, atol=0.004
    )


def test_gates_that_are_shut_leave_finite_gradients():
    mixer = RGLRU(D)
    mixer.gates_bias.data.fill_(-200.0)
    mixer(torch.randn(B, T, D), None)[0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


def test_gradients_are_the_limits_of_differences():
    mixer, x = made(heads=2, taps=2, multiple=2)
    seen, h = torch.randn(1, 1, 8, dtype=torch.float64), torch.randn(1, 8, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (x[:1, :4].clone(), seen, h)]
    assert torch.autograd.gradcheck(lambda x, *state: mixer(x, state)[0], leaves)


@torch.no_grad()
def test_the_recurrence_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    mixer, x = RGLRU(64), torch.randn(B, 100, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, (_, h) = mixer(x, None)
    expected, _ = mixer(x, None)
    assert h.dtype == torch.float32
    assert (y - expected).square().mean() < 1e-3 * expected.square().mean()


@pytest.mark.parametrize("heads", [1, 4])
@torch.no_grad()
def test_operations_are_two_for_each_entry_of_its_matrices(heads):
    mixer = RGLRU(64, heads=heads)
    with FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(B, T, 64), None)
    assert counter.get_total_flops() == B * T * 2 * sum(p.numel() for p in mixer.parameters() if p.ndim > 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, r"model\.mixer\.heads=0: expected at least 1"),
        ({"heads": 64}, r"model\.mixer\.heads=64: an inner width of 8 has no multiple of 64"),
        ({"taps": 0}, r"model\.mixer\.taps=0"),
        ({"multiple": 0}, r"model\.mixer\.multiple=0"),
        ({"expansion": -1.0}, r"model\.mixer\.expansion=-1\.0"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        RGLRU(D, **options)


@pytest.mark.parametrize(("width", "heads", "inner"), [(16, 4, 24), (128, 4, 168), (768, 12, 1032), (768, 16, 1024)])
def test_the_inner_width_is_a_multiple_near_four_thirds(width, heads, inner):
    assert RGLRU(width, heads=heads).projection_out.weight.shape == (width, inner)
