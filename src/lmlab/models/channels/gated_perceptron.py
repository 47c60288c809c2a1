"""Base class of gated perceptrons: W_2 (f(W_1 x) * V x), with f defined by the subclass (Shazeer 2020)."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.channels.channel import Channel
from lmlab.models.layers import Linear, Split


class GatedPerceptron(Channel, ABC):
    """6 ratio D^2 operations a token, without biases.

    Args:
        ratio: inner width over outer width.
        multiple: the inner width is rounded to a multiple of it.

    Raises:
        UserError: ``ratio`` leaves no inner width.
    """

    def __init__(self, width: int, ratio: float, multiple: int) -> None:
        super().__init__()
        inner = round(ratio * width / multiple) * multiple
        if inner < 1:
            raise UserError(f"model.channel.ratio={ratio}: leaves no inner width")
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = Linear(inner, width, bias=False, writes_residual=True)

    @abstractmethod
    def activate(self, gate_BTI: Tensor) -> Tensor:
        """Return f of the gate, W_1 x."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTI, value_BTI = self.up(x_BTD).chunk(2, -1)
        return self.down(self.activate(gate_BTI) * value_BTI)

    def split(self) -> Split:
        """Return the split of the inner channels among processes."""
        inner = self.down.in_features
        return Split(inner, "the inner width of model.channel", {"up": [inner, inner]}, ["down"])
