"""The base class of judges."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torchmetrics
from torch import nn

from lmlab.data.batch import Batch
from lmlab.metrics import Metric
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState


class Answered(Protocol):
    """A prompt, and the answer to it that was judged."""

    @property
    def prompt(self) -> str:
        """The text before the answer."""

    @property
    def answer(self) -> str:
        """The answer."""

    @property
    def references(self) -> tuple[str, ...]:
        """The right answers."""

    @property
    def scores(self) -> Mapping[str, float]:
        """Value of each metric for this answer alone, by name."""


class Judge(nn.Module, ABC):
    """Computes metrics of a model on a split, batch by batch.

    Sums are held by :class:`torchmetrics.Metric` attributes, whose states are reduced over ranks: a result depends
    neither on the division of sequences into batches nor on their distribution over ranks.

    Attributes:
        metrics: the metrics that it computes. The first is the primary metric of a task if this is its first judge.
        shown: number of metrics, from the first, in a narrow table.
        generates: it generates answers, so the number of calls of the model differs between ranks.
        predictions: the answers that it has judged, in order, since :meth:`keep_predictions`; ``None``: not kept.
        decoding: settings by which it generates answers, in a line.
        signatures: rules by which metrics are computed, by name.
    """

    metrics: tuple[Metric, ...]
    shown: int = 1
    generates: bool = False
    predictions: Sequence[Answered] | None = None
    decoding: str = ""
    signatures: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def update(self, model: LanguageModel, batch: Batch) -> LanguageModelState | None:
        """Judge the model on a batch; positions whose target is below 0 are not scored.

        Returns:
            The model's state after the batch, from ``batch.state``; ``None`` if the model did not read the batch
            itself.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return a value for each name of ``metrics``, over all ranks; nan where nothing was scored."""

    def cost(self, values: dict[str, float]) -> float:
        """Return a number to be minimised, used by training for best weights, early stopping and some schedules.

        By default it is the first metric, negated if higher is better.

        Args:
            values: the result of :meth:`compute`.
        """
        value = values[self.metrics[0].name]
        return value if self.metrics[0].better == "lower" else -value

    def details(self) -> dict[str, list[dict[str, Any]]]:
        """Return rows that break down the newest values of :meth:`compute`, by kind; by default none."""
        return {}

    def keep_predictions(self) -> None:
        """Keep the answers that are judged from now on, in :attr:`predictions`; by default there are none."""

    def facts(self, prediction: Answered) -> dict[str, Any]:
        """Return other fields for the record of a kept prediction, as plain values; by default none."""
        return {}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the 95 % interval over examples of metrics of the kept predictions, by name.

        By default these are intervals of the mean of each score.
        """
        from lmlab.data.judges.resampling import mean_of, resampled_interval

        predictions = self.predictions or []
        if len(predictions) < 2:
            return {}
        return {
            name: resampled_interval(np.array([[one.scores[name], 1.0] for one in predictions]), mean_of)
            for name in predictions[0].scores
        }

    def reset(self) -> None:
        """Reset all sums."""
        for part in self.children():
            if isinstance(part, torchmetrics.Metric):
                part.reset()
