"""The minimal LSTM (Feng et al. 2024, section 3.2): forget and input gates that do not see the state and sum to one.

    f_t = sigmoid(W_f x_t + b_f),    i_t = sigmoid(W_i x_t + b_i),
    h_t = f_t / (f_t + i_t) h_{t-1} + i_t / (f_t + i_t) g(W_h x_t + b_h),    y_t = W_y h_t.

Dimension legend: B sequences, T tokens, D width, I inner width, P = 3 parts of the projection.

A token costs 8 D I floating-point operations; the state is h, I numbers. A convolution, if
configured, adds to both.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lmlab.models.mixers.minimal_rnn import MinimalRNN


class MinLSTM(MinimalRNN):
    """minLSTM with a projection out.

    Args:
        expansion: I / D.
        candidate: ``positive`` for candidates g(x) > 0 (appendix B), ``linear`` for g(x) = x (section 3.2).
        forget_bias: where b_f starts; the larger, the longer a new model remembers.
        taps: of a causal convolution that the mixer reads its input through; 0: none.

    Raises:
        UserError: the expansion leaves no inner width, or a negative number of taps.
    """

    def __init__(
        self,
        width: int,
        expansion: float = 1.0,
        candidate: Literal["positive", "linear"] = "positive",
        forget_bias: float = 0.0,
        taps: int = 0,
    ) -> None:
        super().__init__(width, 3, expansion, candidate, taps)
        nn.init.constant_(self.bias[: self.inner], forget_bias)

    def recurrence(self, x_BTP: Tensor) -> tuple[Tensor, Tensor]:
        f_BTI, i_BTI, h_BTI = x_BTP.chunk(3, -1)
        # f / (f + i) = sigmoid(log f - log i): exact where both gates are so nearly shut that f + i is zero.
        ratio_BTI = logsigmoid(f_BTI) - logsigmoid(i_BTI)
        return ratio_BTI.sigmoid(), (-ratio_BTI).sigmoid() * self.activate(h_BTI)
