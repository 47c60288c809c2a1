"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i_t, f_t, o_t = sigmoid(W_g x_t + U_g h_{t-1} + b_g) for each gate g,
    c_t = f_t * c_{t-1} + i_t * tanh(W_c x_t + U_c h_{t-1} + b_c),    h_t = o_t * tanh(c_t),
and h_t is the output. Each W and U is [D, D], each b [D], h and c are [B, D]. Dimension legend: B sequences, T tokens,
D width.

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
