"""Metrics of generated answers: from sums over answers, or from all answers together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from lmlab.metrics import Metric


class AnswerMetric(ABC):
    """A metric of generated texts against right ones, computed from sums of numbers per answer.

    Since the numbers of an answer add up, a metric depends neither on batches nor on ranks, and its uncertainty can be
    estimated from resampled answers.

    Attributes:
        metric: name, heading and direction; values from 0 to 100 where the field's usual scale is that.
        signature: the rules by which it is computed, with the version of a library that does.
    """

    metric: Metric
    signature: str = ""

    @abstractmethod
    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        """Return the numbers [S] of one answer, in float64."""

    @abstractmethod
    def value(self, sums: np.ndarray) -> float:
        """Return the metric of some answers from the sums [S] of their statistics; nan of none."""

    def of_one(self, answer: str, references: Sequence[str]) -> float:
        """Return the metric of one answer."""
        return self.value(self.statistics(answer, references))


class MeanScore(AnswerMetric):
    """The mean over answers of their best score among the references.

    Args:
        score: called with an answer and a right one; returns a number for it, higher is better.
    """

    def __init__(self, metric: Metric, score: Callable[[str, str], float], signature: str = "") -> None:
        self.metric = metric
        self.signature = signature
        self._score = score

    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        return np.array([max(float(self._score(answer, reference)) for reference in references), 1.0])

    def value(self, sums: np.ndarray) -> float:
        return float(sums[0] / sums[1]) if sums[1] else float("nan")


class TextsMetric(ABC):
    """A metric of all generated texts together, without regard to the right ones.

    Attributes:
        metric: name, heading and direction.
        signature: the rules by which it is computed, with the version of a library that does.
    """

    metric: Metric
    signature: str = ""

    @abstractmethod
    def value(self, texts: Sequence[str]) -> float:
        """Return the metric of some texts, in any order; nan of too few."""
