"""The gated recurrent unit (Cho et al. 2014, equations 5 to 8), with the reset gate where torch and cuDNN have it.

    r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r),    z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z),
    n_t = tanh(W x_t + b + r_t * (U h_{t-1} + b')),    h_t = z_t * h_{t-1} + (1 - z_t) * n_t,
and h_t is the output. (The paper has U (r * h_{t-1}); as here, all products with h_{t-1} are one matrix product.)
Each W and U is [D, D], each b [D] and h [B, D]. Dimension legend: B sequences, T tokens, D width.

A token costs 12 D^2 floating-point operations; the state is h, D numbers, however long the context.
"""

from torch import nn

from lmlab.models.mixers.recurrence import Recurrence

INPUT_GAINS = (0.5, 0.5, 1.15)
RECURRENT_GAINS = (0.5, 0.5, 0.5)
"""Of r, z and n. While z = 1/2, h is a mean of earlier n, which passes a constant input on with the gain of W."""


class GRU(Recurrence):
    """One layer of torch's own."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.GRU(width, width, batch_first=True), INPUT_GAINS, RECURRENT_GAINS)
