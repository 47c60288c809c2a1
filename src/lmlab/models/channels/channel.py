"""The base class of channel mixers."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from lmlab.models.layers import Split


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
