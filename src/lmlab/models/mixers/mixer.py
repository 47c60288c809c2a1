"""The base class of sequence mixers."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from lmlab.models.layers import Split


class Mixer(nn.Module, ABC):
    """A sequence mixer: ``y_BTD, state = mixer(x_BTD, state)``, made by ``Mixer(width, **options)``.

    No position may depend on a later one, and reading a sequence in pieces with carried state gives what reading it at
    once does. The state before the first token is ``None``; otherwise it is a tensor or nested tuples of tensors whose
    first dimension is the batch. A mixer with losses of its own to be added in training returns them as a third entry
    (:class:`lmlab.models.block.Mixed`).

    A plain ``nn.Module`` with such a ``forward`` serves as well: it gets the methods below that it does not define.
    """

    @abstractmethod
    def forward(self, x_BTD: Tensor, state: Any) -> Any:
        """Return ``(y_BTD, state)`` or a :class:`lmlab.models.block.Mixed`."""

    def state_size(self, context: int) -> int | None:
        """Return how many numbers the state of one sequence has after ``context`` tokens; ``None``: measure it."""
        return None

    def extra_flops(self, context: int) -> int:
        """Return operations of matrix products for one token beyond two for each entry of a matrix parameter.

        Args:
            context: tokens of a sequence that is read at once, over which the operations are averaged.
        """
        return 0

    def split(self) -> Split | None:
        """Return how several processes can share the work; ``None``: every process does all of it."""
        return None
