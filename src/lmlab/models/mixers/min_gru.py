"""The minimal gated recurrent unit (Feng et al. 2024, section 3.1): a GRU whose gate does not see the state.

    z_t = sigmoid(W_z x_t + b_z),    h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t + b_h),    y_t = W_y h_t.

Dimension legend: B sequences, T tokens, D width, I inner width, P = 2 parts of the projection.

A token costs 6 D I floating-point operations; the state is h, I numbers. A convolution, if
configured, adds to both.
"""

from typing import Literal

from torch import Tensor

from lmlab.models.mixers.minimal_rnn import MinimalRNN


class MinGRU(MinimalRNN):
    """minGRU with a projection out.

    Args:
        expansion: I / D.
        candidate: ``positive`` for candidates g(x) > 0 (appendix B), ``linear`` for g(x) = x (section 3.1).
        taps: of a causal convolution that the mixer reads its input through; 0: none.

    Raises:
        UserError: the expansion leaves no inner width, or a negative number of taps.
    """

    def __init__(
        self,
        width: int,
        expansion: float = 1.0,
        candidate: Literal["positive", "linear"] = "positive",
        taps: int = 0,
    ) -> None:
        super().__init__(width, 2, expansion, candidate, taps)

    def recurrence(self, x_BTP: Tensor) -> tuple[Tensor, Tensor]:
        z_BTI, h_BTI = x_BTP.chunk(2, -1)
        return (-z_BTI).sigmoid(), z_BTI.sigmoid() * self.activate(h_BTI)
