"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

With gates i, f, o in (0, 1) from x_t and h_{t-1}:
    c_t = f * c_{t-1} + i * tanh(W_c x_t + U_c h_{t-1} + b_c),    h_t = o * tanh(c_t).

A token costs 16 D^2 floating-point operations; the state is (h, c), 2 D numbers, however long the context.
"""

from torch import Tensor, nn


class LSTM(nn.Module):
    """One layer of torch's own LSTM, which runs as one fused kernel over the whole sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def state_size(self, context: int) -> int:
        """Numbers in the state of a sequence: h and c."""
        return 2 * self.lstm.hidden_size

    def forward(self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        carried = (
            None if state is None else (state[0].transpose(0, 1).contiguous(), state[1].transpose(0, 1).contiguous())
        )
        y_BTD, (h_1BD, c_1BD) = self.lstm(x_BTD, carried)
        return y_BTD, (h_1BD.transpose(0, 1), c_1BD.transpose(0, 1))
