import pytest
import torch

from lmlab.errors import UserError
from lmlab.models.mixers.slstm import SLSTM
from lmlab.models.mixers.xlstm import BlockDiagonal

B, T, D = 2, 9, 8


def some_mixer(**options) -> SLSTM:
    torch.manual_seed(0)
    mixer = SLSTM(D, **options).double()
    for parameter in mixer.parameters():
        parameter.data.normal_(0, 0.7)
    return mixer


def dense(projection: BlockDiagonal, output: int) -> torch.Tensor:
    """One of the matrices [D, D] that the blocks stand for."""
    P = projection.weight.shape[1]
    return torch.block_diag(*[block[:, output * P : (output + 1) * P].T for block in projection.weight])


def slow_slstm(mixer: SLSTM, x_TD: torch.Tensor) -> torch.Tensor:
    """Beck et al. 2024, equations 8 to 14 as they stand, with whole matrices, and the norm by head of figure 10."""
    P, taps = mixer.head_width, mixer.convolution.taps
    W = {"i": dense(mixer.input_forget, 0), "f": dense(mixer.input_forget, 1)}
    W |= {"z": dense(mixer.cell_output, 0), "o": dense(mixer.cell_output, 1)}
    R = {g: torch.block_diag(*[r[:, at * P : (at + 1) * P].T for r in mixer.recurrent]) for at, g in enumerate("ifzo")}
    b = dict(zip("ifzo", mixer.bias.split(len(mixer.bias) // 4), strict=True))
    h, c, n = torch.zeros(3, x_TD.shape[1], dtype=x_TD.dtype)
    rows = []
    for t, x in enumerate(x_TD):
        mixed = mixer.convolution.bias.clone()
        for s in range(max(0, t - taps + 1), t + 1):
            mixed += mixer.convolution.weight[:, 0, s - t + taps - 1] * x_TD[s]
        mixed = mixed / (1 + (-mixed).exp())
        i, f, z, o = (W[g] @ (mixed if g in "if" else x) + R[g] @ h + b[g] for g in "ifzo")
        i, f, z, o = i.exp(), 1 / (1 + (-f).exp()), z.tanh(), 1 / (1 + (-o).exp())
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        heads = h.view(mixer.heads, P)
        heads = heads - heads.mean(1, keepdim=True)
        rows.append((heads / (heads.square().mean(1, keepdim=True) + 1e-6).sqrt()).flatten())
    return torch.stack(rows) * mixer.norm.gain


@pytest.mark.parametrize("options", [{"heads": 1}, {"heads": 4}, {"heads": 2, "taps": 1}])
@torch.no_grad()
def test_it_is_the_unstabilised_equations_whole_or_in_pieces(options):
    mixer = some_mixer(**options)
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    expected = torch.stack([slow_slstm(mixer, x_TD) for x_TD in x_BTD])
    whole_BTD, after = mixer(x_BTD, None)
    torch.testing.assert_close(whole_BTD, expected, rtol=1e-9, atol=1e-9)
    first_BTD, state = mixer(x_BTD[:, :4], None)
    second_BTD, state = mixer(x_BTD[:, 4:], state)
    torch.testing.assert_close(torch.cat([first_BTD, second_BTD], 1), expected, rtol=1e-9, atol=1e-9)
    assert sum(part[0].numel() for part in after) == mixer.state_size(T)
    assert (after.normaliser >= 1).all()


def test_gradients_are_those_of_differences_through_a_carried_state():
    mixer = some_mixer(heads=4)
    x_BTD = torch.randn(1, 3, D, dtype=torch.float64, requires_grad=True)

    def read(x_BTD, *_):
        first_BTD, state = mixer(x_BTD[:, :1], None)
        return torch.cat([first_BTD, mixer(x_BTD[:, 1:], state)[0]], 1)

    assert torch.autograd.gradcheck(read, (x_BTD, mixer.recurrent, mixer.bias))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_extreme_gates_give_finite_outputs_and_gradients(signs):
    torch.manual_seed(0)
    mixer = SLSTM(D)
    with torch.no_grad():
        gates = torch.tensor(signs).repeat_interleave(D) * torch.tensor([30.0, 50, 100, 500] * 4)
        mixer.bias[: 2 * D] = gates
        mixer.recurrent.normal_()
    y_BTD, state = mixer(torch.randn(B, 60, D), None)
    y_BTD.square().sum().backward()
    assert y_BTD.isfinite().all() and all(part.isfinite().all() for part in state)
    assert all(p.grad.isfinite().all() for p in mixer.parameters())


@torch.no_grad()
def test_an_open_forget_gate_keeps_the_first_token_and_an_open_input_gate_the_last():
    mixer = some_mixer(heads=2)
    mixer.recurrent.zero_()
    mixer.input_forget.weight.zero_()
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    z_BTD, o_BTD = mixer.cell_output(x_BTD)
    z_BTD, o_BTD = (z_BTD + mixer.bias[2 * D : 3 * D]).tanh(), (o_BTD + mixer.bias[3 * D :]).sigmoid()
    mixer.bias[: 2 * D] = 60.0  # a mean over all tokens
    _, state = mixer(x_BTD, None)
    torch.testing.assert_close(state.output.flatten(1), o_BTD[:, -1] * z_BTD.mean(1))
    mixer.bias[D : 2 * D] = -60.0
    _, state = mixer(x_BTD, None)
    torch.testing.assert_close(state.output.flatten(1), o_BTD[:, -1] * z_BTD[:, -1])


def test_forget_gates_start_open():
    bias = SLSTM(16).bias.view(4, 4, 4)
    assert (bias[1] == torch.linspace(3, 6, 4)).all() and bias[[0, 2, 3]].count_nonzero() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, r"model\.mixer\.heads=3: must divide model\.width=8 .*nearest that does: (2|4)\)"),
        ({"heads": 8}, r"model\.mixer\.heads=8: .*two channels or more.*nearest that does: 4\)"),
        ({"taps": 0}, r"model\.mixer\.taps=0: expected at least 1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SLSTM(D, **options)
