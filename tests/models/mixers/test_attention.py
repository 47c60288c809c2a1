import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.mixers.attention import Attention

B, T, D = 2, 7, 12


def rotated(vector: list[float], position: int, base: float) -> list[float]:
    """Su et al. 2021, equation 34, with channel i paired with channel i + H / 2."""
    half = len(vector) // 2
    turned = [0.0] * len(vector)
    for pair in range(half):
        angle = position * base ** (-2 * pair / len(vector))
        first, second = vector[pair], vector[pair + half]
        turned[pair] = first * math.cos(angle) - second * math.sin(angle)
        turned[pair + half] = second * math.cos(angle) + first * math.sin(angle)
    return turned


def normalised(vector: list[float], gain: list[float]) -> list[float]:
    size = math.sqrt(sum(x * x for x in vector) / len(vector) + torch.finfo(torch.float64).eps)
    return [g * x / size for g, x in zip(gain, vector, strict=True)]


def slow_attention(mixer: Attention, x_BTD: torch.Tensor) -> torch.Tensor:
    """Vaswani et al. 2017, equation 1, position by position and head by head, over the tokens of a window."""
    H, out = mixer.head_width, torch.zeros((*x_BTD.shape[:2], mixer.heads * mixer.head_width), dtype=torch.float64)
    for b, sequence in enumerate(x_BTD):
        projected = [mixer.projection_in.weight @ x for x in sequence]
        if mixer.projection_in.bias is not None:
            projected = [p + mixer.projection_in.bias for p in projected]
        part = [[p[at * H : (at + 1) * H].tolist() for at in range(len(p) // H)] for p in projected]
        for head in range(mixer.heads):
            own = mixer.heads + head // (mixer.heads // mixer.kv_heads)
            queries, keys, values = ([p[at] for p in part] for at in (head, own, own + mixer.kv_heads))
            if isinstance(mixer.query_norm, torch.nn.RMSNorm):
                queries = [normalised(q, mixer.query_norm.weight.tolist()) for q in queries]
                keys = [normalised(k, mixer.key_norm.weight.tolist()) for k in keys]
            if mixer.rotary_base is not None:
                queries = [rotated(q, t, mixer.rotary_base) for t, q in enumerate(queries)]
                keys = [rotated(k, t, mixer.rotary_base) for t, k in enumerate(keys)]
            for t in range(len(sequence)):
                first = 0 if mixer.window is None else max(0, t - mixer.window + 1)
                scores = {
                    s: sum(a * b for a, b in zip(queries[t], keys[s], strict=True)) / math.sqrt(H)
                    for s in range(first, t + 1)
                }
                total = sum(map(math.exp, scores.values()))
                for i in range(H):
                    mixed = sum(math.exp(score) / total * values[s][i] for s, score in scores.items())
                    out[b, t, head * H + i] = mixed
    out = out @ mixer.projection_out.weight.T
    return out if mixer.projection_out.bias is None else out + mixer.projection_out.bias


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 1, "rotary": False},
        {"heads": 3, "rotary": True},
        {"heads": 6, "kv_heads": 2, "rotary": True, "rotary_base": 100.0},
        {"heads": 6, "kv_heads": 1, "rotary": False, "bias": True},
        {"heads": 2, "rotary": True, "query_key_norm": True, "bias": True},
        {"heads": 3, "rotary": True, "window": 1},
        {"heads": 6, "kv_heads": 2, "rotary": True, "window": 2},
        {"heads": 2, "rotary": False, "window": 3},
        {"heads": 2, "rotary": True, "window": 7},
    ],
)
@torch.no_grad()
def test_attention_is_the_equations_position_by_position(options):
    torch.manual_seed(0)
    mixer = Attention(D, **options).double()
    for parameter in mixer.parameters():
        parameter.normal_()
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    y_BTD, (position, cache) = mixer(x_BTD, None)
    torch.testing.assert_close(y_BTD, slow_attention(mixer, x_BTD), rtol=1e-9, atol=1e-9)
    assert position.tolist() == [T] * B
    kept = T if mixer.window is None else mixer.window - 1
    assert cache.keys.shape == cache.values.shape == (B, mixer.kv_heads, kept, mixer.head_width)


@torch.no_grad()
def test_rotary_attention_depends_on_distances_only():
    mixer = Attention(D, heads=2).double()
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    near, (_, cache) = mixer(x_BTD, None)
    far, _ = mixer(x_BTD, (torch.full((B,), 100_000), type(cache)(cache.keys[:, :, :0], cache.values[:, :, :0])))
    torch.testing.assert_close(far, near, rtol=0, atol=1e-9)


@torch.no_grad()
def test_far_rotary_positions_are_exact_in_float32():
    mixer = Attention(D, heads=2)
    x_BTD = torch.randn(B, T, D)
    near, (_, cache) = mixer(x_BTD, None)
    far, _ = mixer(x_BTD, (torch.full((B,), 100_000), type(cache)(cache.keys[:, :, :0], cache.values[:, :, :0])))
    torch.testing.assert_close(far, near, rtol=0, atol=1e-6)


def test_operations_over_the_context_are_counted():
    assert Attention(D, heads=3).extra_flops(10) == 4 * 10 * D


@pytest.mark.parametrize("window", [1, 3, 8])
@given(cuts=st.sets(st.integers(1, 28)))
@settings(max_examples=25)
@torch.no_grad()
def test_a_window_read_in_any_pieces_is_the_window_of_a_full_mask(window, cuts):
    torch.manual_seed(0)
    mixer = Attention(D, heads=6, kv_heads=2, window=window).double()
    x_BTD = torch.randn(B, 29, D, dtype=torch.float64)
    state, pieces = None, []
    for start, end in pairwise([0, *sorted(cuts), 29]):
        piece, state = mixer(x_BTD[:, start:end], state)
        pieces.append(piece)
        assert sum(tensor[0].numel() for tensor in model_state.values(state)) == mixer.state_size(end)
    mixer._attend_in_blocks = mixer._attend
    torch.testing.assert_close(torch.cat(pieces, 1), mixer(x_BTD, None)[0], rtol=0, atol=1e-12)
    assert mixer.state_size(1 << 40) == 2 * (window - 1) * 2 * 2


def test_gradients_of_blocks_are_those_of_differences():
    mixer = Attention(4, heads=2, kv_heads=1, window=2).double()
    _, before = mixer(torch.randn(1, 3, 4, dtype=torch.float64), None)

    def output(x_BTD: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return mixer(x_BTD, (before[0], type(before[1])(keys, values)))[0]

    carried = [tensor.detach().requires_grad_() for tensor in before[1]]
    x_BTD = torch.randn(1, 7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, (x_BTD, *carried))


@pytest.mark.parametrize("context", [1, 7, 8, 9, 16, 21, 64])
@torch.no_grad()
def test_operations_within_a_window_are_those_that_are_executed(context):
    mixer = Attention(D, heads=6, kv_heads=2, window=8)
    matrices = sum(parameter.numel() for parameter in mixer.parameters() if parameter.ndim > 1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(1, context, D), None)
    assert abs(2 * matrices + mixer.extra_flops(context) - counter.get_total_flops() / context) < 1
    assert mixer.extra_flops(context) < 4 * 2 * 8 * D


def test_the_kept_keys_keep_no_others_alive():
    _, (_, cache) = Attention(D, heads=2, window=3)(torch.randn(1, 1000, D), None)
    assert cache.keys.untyped_storage().nbytes() == 4 * 2 * D  # two tokens in float32


@pytest.mark.parametrize("window", [0, -4])
def test_an_empty_window_is_refused(window):
    with pytest.raises(UserError, match=rf"model\.mixer\.window={window}: .*nearest: 1"):
        Attention(D, heads=2, window=window)
