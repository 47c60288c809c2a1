"""Base class of minGRU and minLSTM (Feng et al. 2024, "Were RNNs All We Needed?").

Dimension legend: B sequences, T tokens, D width, I inner width, P parts (gates and candidate) of the projection.

Gates and candidate depend on the token alone, so the state follows a linear recurrence, which a scan computes for all
tokens together. The paper keeps states positive in order to scan their logarithms (appendix B): with
    g(x) = x + 1/2 for x >= 0, else sigmoid(x)
as the candidate's activation, that gives the states computed here, where the scan needs no logarithms. The state before
the first token is zero.

A token costs 2 (P + 1) D I operations; the state is h, I numbers, however long the context.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.layers import Linear
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution
from lmlab.models.scan import scan


class MinimalRNN(Mixer, ABC):
    """A projection, a linear recurrence and a projection back; the subclass defines the recurrence's coefficients.

    Args:
        parts: P.
        expansion: I / D.
        candidate: ``positive`` puts candidates through g (appendix B), ``linear`` does not change them (section 3).
        taps: of a causal convolution that the mixer reads its input through, each channel by itself; 0: none.

    Raises:
        UserError: the expansion leaves no inner width, or a negative number of taps.
    """

    def __init__(
        self, width: int, parts: int, expansion: float, candidate: Literal["positive", "linear"], taps: int
    ) -> None:
        super().__init__()
        self.inner = round(expansion * width)
        if self.inner < 1:
            raise UserError(
                f"model.mixer.expansion={expansion}: leaves no inner width (expected at least 1 / model.width={width})"
            )
        if taps < 0:
            raise UserError(f"model.mixer.taps={taps}: expected a number of tokens (0: no convolution)")
        self.positive = candidate == "positive"
        self.convolution = ShortConvolution(width, taps) if taps else None
        self.projection_in = Linear(width, parts * self.inner, bias=False, row_blocks=[self.inner] * parts)
        self.bias = nn.Parameter(torch.zeros(parts * self.inner))
        self.projection_out = Linear(self.inner, width, bias=False, writes_residual=True)

    @abstractmethod
    def recurrence(self, x_BTP: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b [B, T, I] of h_t = a_t h_{t-1} + b_t from the projections [B, T, P I]."""

    def activate(self, x_BTI: Tensor) -> Tensor:
        """Apply the candidates' activation to their projections."""
        if not self.positive:
            return x_BTI
        return x_BTI.relu() + x_BTI.clamp(max=0).sigmoid()  # g without a branch: where() takes five times as long

    def forward(self, x_BTD: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        h_BI = None if state is None else state[0]
        u_BTD, carried = x_BTD, list[Tensor]()
        if self.convolution is not None:
            u_BTD, seen_BKD = self.convolution(x_BTD, None if state is None else state[1])
            carried = [seen_BKD]
        x_BTP = self.projection_in(u_BTD)
        a_BTI, b_BTI = self.recurrence(x_BTP.to(torch.promote_types(x_BTP.dtype, torch.float32)) + self.bias)
        h_BTI = scan(a_BTI, b_BTI, torch.zeros_like(b_BTI[:, 0]) if h_BI is None else h_BI)
        return self.projection_out(h_BTI.to(x_BTD.dtype)), (h_BTI[:, -1], *carried)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: h, and the convolution's inputs."""
        return self.inner + (0 if self.convolution is None else self.convolution.state_size())
