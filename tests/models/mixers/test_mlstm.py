import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models.mixers.mlstm import MLSTM, chunks, remember
from lmlab.models.mixers.xlstm import BlockDiagonal

B, T, D = 2, 11, 8


def some_mixer(**options) -> MLSTM:
    """A mixer of random weights, whose gates depend on their input."""
    torch.manual_seed(0)
    mixer = MLSTM(D, **options).double()
    for parameter in mixer.parameters():
        parameter.data.normal_(0, 0.7)
    return mixer


def dense(projection: BlockDiagonal, output: int) -> torch.Tensor:
    """One of the matrices [C, C] that the blocks stand for."""
    P = projection.weight.shape[1]
    return torch.block_diag(*[block[:, output * P : (output + 1) * P].T for block in projection.weight])


def unstabilised(q_TP, k_TP, v_TP, i_T, f_T, C_PP, n_P):
    """Beck et al. 2024, equations 19 to 21 as they stand, for one head: gates as numbers, keys already scaled."""
    h_TP = torch.zeros_like(v_TP)
    for t in range(len(q_TP)):
        C_PP = f_T[t] * C_PP + i_T[t] * torch.outer(v_TP[t], k_TP[t])
        n_P = f_T[t] * n_P + i_T[t] * k_TP[t]
        h_TP[t] = C_PP @ q_TP[t] / max(abs(float(n_P @ q_TP[t])), 1.0)
    return h_TP, C_PP, n_P


def slow_block(mixer: MLSTM, x_BTD: torch.Tensor) -> torch.Tensor:
    """The block of figure 11, sequence by sequence and head by head."""
    H, P, taps = mixer.heads, mixer.head_width, mixer.convolution.taps
    query, key, value = dense(mixer.query_key, 0), dense(mixer.query_key, 1), dense(mixer.value, 0)
    rows = []
    for x_TD in x_BTD:
        x_TC, gate_TC = (x_TD @ mixer.projection_in.weight.T).split(H * P, 1)
        mixed_TC = mixer.convolution.bias.repeat(len(x_TD), 1)
        for t in range(len(x_TD)):
            for s in range(max(0, t - taps + 1), t + 1):
                mixed_TC[t] += mixer.convolution.weight[:, 0, s - t + taps - 1] * x_TC[s]
        mixed_TC = mixed_TC / (1 + (-mixed_TC).exp())
        q_TC, k_TC, v_TC = mixed_TC @ query.T, mixed_TC @ key.T, x_TC @ value.T
        gates_TG = torch.cat([q_TC, k_TC, v_TC], 1) @ mixer.gates.weight.T + mixer.gates.bias
        parts = []
        for head in range(H):
            own = slice(head * P, (head + 1) * P)
            i_T, f_T = gates_TG[:, head].exp(), 1 / (1 + (-gates_TG[:, H + head]).exp())
            empty = torch.zeros(P, P, dtype=x_BTD.dtype), torch.zeros(P, dtype=x_BTD.dtype)
            h_TP = unstabilised(q_TC[:, own], k_TC[:, own] / math.sqrt(P), v_TC[:, own], i_T, f_T, *empty)[0]
            centred = h_TP - h_TP.mean(1, keepdim=True)
            parts.append(centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt())
        h_TC = torch.cat(parts, 1) * mixer.norm.gain + mixer.skip * mixed_TC
        rows.append((h_TC * gate_TC / (1 + (-gate_TC).exp())) @ mixer.projection_out.weight.T)
    return torch.stack(rows)


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 1, "expansion": 1.0, "projection_block": 2},
        {"heads": 4, "chunk": 4},
        {"heads": 2, "expansion": 1.5, "projection_block": 3, "taps": 2, "chunk": 1},
    ],
)
@torch.no_grad()
def test_the_block_is_the_unstabilised_equations_token_by_token(options):
    mixer = some_mixer(**options)
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    y_BTD, state = mixer(x_BTD, None)
    torch.testing.assert_close(y_BTD, slow_block(mixer, x_BTD), rtol=1e-9, atol=1e-9)
    assert sum(part[0].numel() for part in state) == mixer.state_size(T)


def some_gates(scale: float) -> tuple[torch.Tensor, ...]:
    """q, k, v, input and forget gates (as logarithms) of two heads of width 4, and a state that has something in it."""
    torch.manual_seed(1)
    q, k, v = torch.randn(3, B, 2, T, 4, dtype=torch.float64)
    i, f = scale * torch.randn(2, B, 2, T, dtype=torch.float64)
    C, n, m = torch.randn(B, 2, 4, 4), torch.randn(B, 2, 4), scale * torch.rand(B, 2)
    return q, k, v, i, torch.nn.functional.logsigmoid(f), (C.double(), n.double(), m.double())


@pytest.mark.parametrize("limit", [1, 2, 4, 7, 11, 64])
@torch.no_grad()
def test_a_memory_is_the_unstabilised_one_from_a_carried_state_in_chunks_of_any_length(limit):
    q, k, v, i, f, (C, n, m) = some_gates(3.0)
    h, (C_after, n_after, m_after) = remember(q, k, v, i, f, (C, n, m), limit)
    for b in range(B):
        for head in range(2):
            at, scale = (b, head), m[b, head].exp()
            expected = unstabilised(q[at], k[at], v[at], i[at].exp(), f[at].exp(), C[at].T * scale, n[at] * scale)
            for found, wanted in zip(
                (h[at], C_after[at].T * m_after[at].exp(), n_after[at] * m_after[at].exp()), expected, strict=True
            ):
                torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", ["mlstm_recurrent_sequence_native", "mlstm_chunkwise_native_autograd"])
@torch.no_grad()
def test_a_memory_is_that_of_transformers(function):
    theirs = pytest.importorskip("transformers.models.xlstm.modeling_xlstm")
    if not hasattr(theirs, function):
        pytest.skip("the xlstm package replaces these functions")
    q, k, v, i, _, (C, n, m) = some_gates(2.0)
    f = torch.randn_like(i)
    h, (C_after, n_after, m_after) = getattr(theirs, function)(
        query=q, key=k, value=v, igate=i, fgate=f, c_initial=C, n_initial=n, m_initial=m[..., None],
        return_last_states=True, eps=0.0, dtype_state=torch.float64, chunk_size=T,
    )  # fmt: skip
    # They scale the query where the paper scales the key, so their memory is larger by the root of the width.
    state = C / 2, n / 2, m
    own, (C_own, n_own, m_own) = remember(q, k / 2, v, i, torch.nn.functional.logsigmoid(f), state, 4)
    torch.testing.assert_close(own, h, rtol=1e-10, atol=1e-10)
    scale = (m_after.view_as(m_own) - m_own).exp()
    torch.testing.assert_close(C_own, C_after * scale[..., None, None] / 2, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(n_own, n_after * scale[..., None] / 2, rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_differences_through_a_carried_state():
    mixer = some_mixer(heads=2, expansion=0.5, projection_block=2, chunk=2)
    x_BTD = torch.randn(1, 4, D, dtype=torch.float64, requires_grad=True)

    def read(x_BTD, _):
        first_BTD, state = mixer(x_BTD[:, :1], None)
        return torch.cat([first_BTD, mixer(x_BTD[:, 1:], state)[0]], 1)

    assert torch.autograd.gradcheck(read, (x_BTD, mixer.gates.bias))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_extreme_gates_give_finite_outputs_and_gradients_in_chunks_of_any_length(signs):
    torch.manual_seed(0)
    mixer = MLSTM(D)
    x_BTD = torch.randn(B, 80, D)
    outputs = []
    for chunk in (1, 16, 64):
        mixer.chunk = chunk
        with torch.no_grad():
            mixer.gates.bias.copy_(torch.tensor(signs).repeat_interleave(4) * torch.tensor([30.0, 50, 100, 500] * 2))
        mixer.zero_grad()
        y_BTD, state = mixer(x_BTD, None)
        y_BTD.square().sum().backward()
        outputs.append(y_BTD.detach())
        assert all(part.isfinite().all() for part in state)
        assert y_BTD.isfinite().all() and all(p.grad.isfinite().all() for p in mixer.parameters())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_forget_gates_start_open_and_input_gates_near_one():
    mixer = MLSTM(D)
    _, state = mixer(torch.randn(B, 5, D), None)
    assert mixer.gates.weight.count_nonzero() == 0
    assert mixer.gates.bias[4:].tolist() == [3, 4, 5, 6] and mixer.gates.bias[:4].abs().max() < 0.6
    assert state.memory.count_nonzero() > 0


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 5, 16, 17, 40])
def test_operations_are_those_that_the_framework_counts(context):
    mixer = MLSTM(16, chunk=16)
    with FlopCounterMode(display=False) as counter:
        mixer(torch.randn(1, context, 16), None)
    matrices = sum(p.numel() for p in mixer.parameters() if p.ndim >= 2)
    assert 2 * matrices + mixer.extra_flops(context) == pytest.approx(counter.get_total_flops() / context, rel=1e-3)


def test_chunks_are_as_few_as_the_limit_allows_and_padded_least():
    for tokens in range(1, 70):
        for limit in (1, 3, 16, 64):
            count, length = chunks(tokens, limit)
            assert count == -(-tokens // limit) and length <= limit and 0 <= count * length - tokens < count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"model\.mixer\.heads=3: must divide the inner width=16 .*nearest that does: (2|4)\)"),
        ({"heads": 16}, r"model\.mixer\.heads=16: .*two channels or more.*nearest that does: 8\)"),
        ({"heads": 0}, r"model\.mixer\.heads=0: .*nearest that does: 1\)"),
        ({"projection_block": 5}, r"model\.mixer\.projection_block=5: must divide .*16 \(nearest that does: 4\)"),
        ({"expansion": 0.0}, r"model\.mixer\.expansion=0\.0"),
        ({"chunk": 0}, r"model\.mixer\.chunk=0: expected at least 1"),
        ({"taps": 0}, r"model\.mixer\.taps=0: expected at least 1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        MLSTM(D, **options)
