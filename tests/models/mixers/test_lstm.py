import torch

from lmlab.models.mixers.lstm import LSTM


@torch.no_grad()
def test_lstm_is_the_cell_equations_step_by_step():
    B, T, D = 3, 6, 5
    torch.manual_seed(0)
    mixer = LSTM(D).double()
    x_BTD = torch.randn(B, T, D, dtype=torch.float64)
    h_BD, c_BD = torch.randn(2, B, D, dtype=torch.float64)
    y_BTD, (h_B1D, c_B1D) = mixer(x_BTD, (h_BD[:, None], c_BD[:, None]))
    own = mixer.layer
    for t in range(T):
        gates = x_BTD[:, t] @ own.weight_ih_l0.T + own.bias_ih_l0 + h_BD @ own.weight_hh_l0.T + own.bias_hh_l0
        i_BD, f_BD, g_BD, o_BD = gates.chunk(4, 1)
        c_BD = c_BD / (1 + (-f_BD).exp()) + g_BD.tanh() / (1 + (-i_BD).exp())
        h_BD = c_BD.tanh() / (1 + (-o_BD).exp())
        torch.testing.assert_close(y_BTD[:, t], h_BD, rtol=0, atol=1e-12)
    torch.testing.assert_close(h_B1D, h_BD[:, None], rtol=0, atol=1e-12)
    torch.testing.assert_close(c_B1D, c_BD[:, None], rtol=0, atol=1e-12)


@torch.no_grad()
def test_no_state_is_a_state_of_zeros():
    mixer, x_BTD = LSTM(4), torch.randn(2, 3, 4)
    zero = torch.zeros(2, 1, 4)
    assert torch.equal(mixer(x_BTD, None)[0], mixer(x_BTD, (zero, zero))[0])
