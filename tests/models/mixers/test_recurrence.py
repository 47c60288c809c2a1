import pytest
import torch
from torch import nn

from lmlab.models.mixers.gru import GRU
from lmlab.models.mixers.lstm import LSTM
from lmlab.models.mixers.rnn import RNN

B, T, D = 3, 6, 5


@pytest.mark.parametrize(("kind", "theirs"), [(RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM)])
@torch.no_grad()
def test_two_mixers_on_each_other_are_torchs_layers_of_two(kind, theirs):
    torch.manual_seed(0)
    stack = theirs(D, D, num_layers=2, batch_first=True).double()
    mixers = [kind(D).double() for _ in range(2)]
    for index, mixer in enumerate(mixers):
        for name, parameter in mixer.layer.named_parameters():
            parameter.copy_(stack.get_parameter(name.replace("l0", f"l{index}")))
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    expected_BTD, after = stack(x_BTD)
    states = [None, None]
    pieces = []
    for piece_BTD in x_BTD.split([1, 3, 2], 1):
        for index, mixer in enumerate(mixers):
            piece_BTD, states[index] = mixer(piece_BTD, states[index])
        pieces.append(piece_BTD)
    torch.testing.assert_close(torch.cat(pieces, 1), expected_BTD, rtol=0, atol=1e-12)
    for part, expected_2BD in enumerate(after if kind is LSTM else [after]):
        found = torch.cat([state[part] if kind is LSTM else state for state in states], 1)
        torch.testing.assert_close(found, expected_2BD.transpose(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
@torch.no_grad()
def test_matrices_of_gates_are_orthogonal_and_biases_zero_at_first(kind):
    for name, parameter in kind(D).layer.named_parameters():
        if name.startswith("bias"):
            assert parameter.count_nonzero() == 0
            continue
        for matrix in parameter.split(D):
            product = matrix @ matrix.T
            torch.testing.assert_close(product, product[0, 0] * torch.eye(D), rtol=0, atol=1e-5)
            assert product[0, 0] > 0.2
