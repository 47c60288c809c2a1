"""Scores of runs on every task that they were trained on, beside those of trivial baselines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lmlab.analysis.records import Record, together
from lmlab.errors import UserError
from lmlab.metrics import FREQUENCIES, Better, Measures, cost, split_of


@dataclass(frozen=True)
class Mean:
    """The mean of a metric over runs.

    Attributes:
        low, high: bounds of its 95 % interval; nan for a single value, or without scipy.
        n: number of values.
    """

    value: float
    low: float
    high: float
    n: int

    def beats(self, value: float, better: Better) -> bool:
        """Return whether the mean is better than a value, and so is all of its interval, if it has one."""
        worst = self.high if better == "lower" else self.low
        return cost(self.value if math.isnan(worst) else worst, better) < cost(value, better)


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of the values of some runs. Raises ``ValueError`` without any."""
    if len(values) > 1:
        from lmlab.analysis.statistics.intervals import mean_interval

        try:
            estimate = mean_interval(values)
            return Mean(estimate.mean, estimate.low, estimate.high, estimate.n)
        except UserError:  # scipy is an optional dependency
            pass
    return Mean(fmean(values), math.nan, math.nan, len(values))


def leading(records: Sequence[Record]) -> list[str]:
    """Return the first metric of each scored split that tables show and all runs have."""
    names: dict[str, str] = {}
    for name in together(records).shown:
        if all(record.metric(name) is not None for record in records):
            names.setdefault(split_of(name), name)
    return list(names.values())


def have_tasks(records: Sequence[Record]) -> bool:
    """Return whether runs were trained on the same several tasks, each with trivial baselines."""
    if not records:
        return False
    trivial = Trivial.of(records)
    return sum(trivial.best(metric) is not None for metric in leading(records)) > 1


@dataclass(frozen=True)
class Trivial:
    """Scores of the trivial baselines on the data of some runs.

    Attributes:
        scores: values by the name of the baseline and the full name of the metric.
        measures: the metrics of the runs.
    """

    scores: Mapping[str, Mapping[str, float]]
    measures: Measures

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Trivial":
        """Return the baselines that all runs have recorded with the same values.

        There are none if the values differ, and for plain text alone, where every model is far better.
        """
        first, *others = [record.baselines for record in records]
        one_text = set(first) == {FREQUENCIES} and len({split_of(name) for name in first[FREQUENCIES]}) == 1
        same = all(each == first for each in others)
        return cls(first if same and not one_text else {}, together(records))

    def names(self, metrics: Sequence[str]) -> list[str]:
        """Return the baselines that have one of some metrics."""
        return [name for name, scores in self.scores.items() if any(metric in scores for metric in metrics)]

    def mean(self, name: str, metric: str) -> Mean:
        """Return a baseline's value of a metric as a mean without interval, of no runs if it does not have it."""
        scores = self.scores[name]
        return Mean(scores.get(metric, math.nan), math.nan, math.nan, int(metric in scores))

    def best(self, metric: str) -> tuple[str, float] | None:
        """Return name and value of the best baseline by a metric; ``None`` if none has it."""
        better = self.measures.better(metric)
        values = [(name, scores[metric]) for name, scores in self.scores.items() if metric in scores]
        return min(values, key=lambda item: cost(item[1], better), default=None)

    def beaten(self, metric: str, mean: Mean) -> bool:
        """Return whether a mean is better than the best baseline; false without one."""
        best = self.best(metric)
        return best is not None and mean.beats(best[1], self.measures.better(metric))

    def summary(self, arms: Mapping[str, Mapping[str, Mean]]) -> list[str]:
        """Return a line for each task where no arm beats all baselines; of several tasks, also one for each arm.

        Args:
            arms: means by the name of the arm and the metric; a task is judged by its first metric.
        """
        metrics = [metric for metric in next(iter(arms.values()), {}) if self.best(metric) is not None]
        beaten = {arm: [each for each in metrics if self.beaten(each, means[each])] for arm, means in arms.items()}
        lines = []
        for arm, own in beaten.items() if len(metrics) > 1 else ():
            which = f": {', '.join(map(split_of, own))}" if own else ""
            lines.append(f"{arm} beats them on {len(own)} of {len(metrics)} tasks{which}")
        for metric in metrics:
            if not any(metric in own for own in beaten.values()) and (best := self.best(metric)) is not None:
                value = self.measures.written(metric, best[1])
                heading = self.measures.label(metric)
                lines.append(f"No model beats the {best[0]} on {split_of(metric)}: {heading} {value}")
        return lines
