"""The simple recurrent network (Elman 1990): h_t = tanh(W x_t + U h_{t-1} + b), and h_t is the output.

W and U are [D, D], b is [D] and h [B, D]. Dimension legend: B sequences, T tokens, D width.

A token costs 4 D^2 floating-point operations; the state is h, D numbers, however long the context.
"""

from torch import nn

from lmlab.models.mixers.recurrence import Recurrence

INPUT_GAINS = (0.9,)
RECURRENT_GAINS = (0.7,)
"""In sum of squares 1.3: with independent inputs the power of h is 0.9^2 that of x plus 0.7^2 of the h before."""


class RNN(Recurrence):
    """One layer of torch's own."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.RNN(width, width, batch_first=True), INPUT_GAINS, RECURRENT_GAINS)
