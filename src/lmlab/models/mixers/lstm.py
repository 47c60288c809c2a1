"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

With gates i, f, o in (0, 1) from x_t and h_{t-1}:
    c_t = f * c_{t-1} + i * tanh(W_c x_t + U_c h_{t-1} + b_c),    h_t = o * tanh(c_t),
and h_t is the output.

A token costs 16 D^2 floating-point operations; the state is (h, c), 2 D numbers, however long the context.
"""

from torch import nn

from lmlab.models.mixers.recurrence import Recurrence

INPUT_GAINS = (0.5, 0.5, 2.6, 0.5)
RECURRENT_GAINS = (0.5, 0.5, 1.0, 0.5)
"""Of i, f, the candidate and o. While gates are 1/2, a constant input passes with i o / (1 - f) = 1/2 of W_c's gain."""


class LSTM(Recurrence):
    """One layer of torch's own."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.LSTM(width, width, batch_first=True), INPUT_GAINS, RECURRENT_GAINS)
