"""The base class of judges."""

from abc import ABC, abstractmethod
from typing import Any

import torchmetrics
from torch import nn

from lmlab.data.batch import Batch
from lmlab.metrics import Metric
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState


class Judge(nn.Module, ABC):
    """Adds up, batch by batch, what a model makes of a split.

    What it adds up is held by :class:`torchmetrics.Metric` attributes, whose states are reduced over ranks: a result
    depends neither on how sequences were cut into batches nor on how they were shared among ranks.

    Attributes:
        metrics: what it computes. The first is the primary metric of a task whose first judge this is.
        shown: how many of them, from the first, a table with little room shows.
        generates: the model is called as often as its answers take, which differs between ranks.
    """

    metrics: tuple[Metric, ...]
    shown: int = 1
    generates: bool = False

    @abstractmethod
    def update(self, model: LanguageModel, batch: Batch) -> LanguageModelState | None:
        """Judge the model on a batch; positions whose target is below 0 are not scored.

        Returns:
            The model's state after the batch, from ``batch.state``; ``None`` if it did not read the batch as it stands.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return a value for each name of ``metrics``, over all ranks; nan where nothing was scored."""

    def cost(self, values: dict[str, float]) -> float:
        """Return a number to be minimised, which training watches: best weights, early stopping, some schedules.

        By default it is the first metric, negated if higher is better.

        Args:
            values: those of :meth:`compute`.
        """
        value = values[self.metrics[0].name]
        return value if self.metrics[0].better == "lower" else -value

    def details(self) -> dict[str, list[dict[str, Any]]]:
        """Return rows about where the newest values of :meth:`compute` come from, by kind; by default none."""
        return {}

    def reset(self) -> None:
        """Begin again with nothing."""
        for part in self.children():
            if isinstance(part, torchmetrics.Metric):
                part.reset()
