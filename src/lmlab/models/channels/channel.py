"""The base class of channel mixers, and that of gated perceptrons."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.layers import Linear, Split


class Channel(nn.Module, ABC):
    """A channel mixer: ``y_BTD = channel(x_BTD)``, each position by itself, made by ``Channel(width, **options)``.

    A channel mixer with losses of its own returns ``(y_BTD, losses by name)``. Each loss is a scalar, a mean over the
    sequences of the batch, and is added to the loss in training. A plain ``nn.Module`` serves as well: it gets the
    methods below that it does not define.
    """

    @abstractmethod
    def forward(self, x_BTD: Tensor) -> Any:
        """Return ``y_BTD`` or ``(y_BTD, losses by name)``."""

    def extra_flops(self, context: int) -> int:
        """Return operations of matrix products for one token beyond two for each entry of a matrix parameter."""
        return 0

    def split(self) -> Split | None:
        """Return how several processes can share the work; ``None``: every process does all of it."""
        return None


class GatedPerceptron(Channel, ABC):
    """W_2 (f(W_1 x) * V x), with f defined by the subclass (Shazeer 2020): 6 ratio D^2 operations a token, no biases.

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
