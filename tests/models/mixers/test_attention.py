import math

import pytest
import torch

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
    """Vaswani et al. 2017, equation 1, position by position and head by head."""
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
                scores = [
                    sum(a * b for a, b in zip(queries[t], keys[s], strict=True)) / math.sqrt(H) for s in range(t + 1)
                ]
                total = sum(map(math.exp, scores))
                for i in range(H):
                    mixed = sum(math.exp(score) / total * values[s][i] for s, score in enumerate(scores))
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
    assert position == T
    assert cache.keys.shape == cache.values.shape == (B, mixer.kv_heads, T, mixer.head_width)


@torch.no_grad()
def test_rotary_attention_depends_on_distances_only():
    mixer = Attention(D, heads=2).double()
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    near, (_, cache) = mixer(x_BTD, None)
    far, _ = mixer(x_BTD, (100_000, type(cache)(cache.keys[:, :, :0], cache.values[:, :, :0])))
    torch.testing.assert_close(far, near, rtol=0, atol=1e-9)


@torch.no_grad()
def test_far_rotary_positions_are_exact_in_float32():
    mixer = Attention(D, heads=2)
    x_BTD = torch.randn(B, T, D)
    near, (_, cache) = mixer(x_BTD, None)
    far, _ = mixer(x_BTD, (100_000, type(cache)(cache.keys[:, :, :0], cache.values[:, :, :0])))
    torch.testing.assert_close(far, near, rtol=0, atol=1e-6)


def test_operations_over_the_context_are_counted():
    assert Attention(D, heads=3).extra_flops(10) == 4 * 10 * D
