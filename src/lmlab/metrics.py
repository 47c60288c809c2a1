"""Metrics: their headings and directions, and the metrics that a run measures.

The full name of a metric is ``<split>/<score>``, for example ``validation/loss``. ``ema/<score>`` is the same score of
the averaged weights; only validations measure it, on the validation split.

All code that trains, reads or shows a run uses this module, so it imports nothing heavy and little of lmlab.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lmlab.errors import UserError
from lmlab.numerals import written

Better = Literal["lower", "higher"]

DIRECTIONS: Mapping[Better, Literal["minimize", "maximize"]] = {"lower": "minimize", "higher": "maximize"}
"""Values of options for the direction in which a metric is better."""

TRAINING_LOSS = "train/loss"
"""The loss of training batches, which every run logs; no validation measures it."""

VALIDATION = "validation"
"""The split for choosing settings."""

TEST = "test"
"""The split that is held out for conclusions."""

FREQUENCIES = "token frequencies"
"""The name of the trivial baseline that predicts each token by its frequency (see :mod:`lmlab.data.baselines`)."""

_AVERAGED = "ema"
"""The prefix, in place of a split, in the names of scores of the averaged weights."""


class Metric(NamedTuple):
    """A number that a judge computes.

    Attributes:
        name: without a split: ``exact_match``.
        heading: as tables and figures write it: ``exact match``.
        better: the direction in which it is better.
        form: format of a value: ``{:.4f}``.
        unit: of a value; empty for a plain number.
        per_token: the value depends on how a tokenizer divides the text, so it cannot be compared across tokenizers;
            ``None``: not declared, and comparisons across tokenizers are doubted.
    """

    name: str
    heading: str
    better: Better
    form: str = "{:.4f}"
    unit: str = ""
    per_token: bool | None = None


@dataclass(frozen=True)
class Measures:
    """The metrics of a run, as its directory records them.

    Attributes:
        primary: full name of the metric for best weights, early stopping, pruning, sorting and comparisons.
        shown: full names of the metrics that a compact table shows, the primary one first.
        metrics: by name, without a split.
    """

    primary: str
    shown: tuple[str, ...]
    metrics: Mapping[str, Metric]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Measures":
        """Read what :meth:`to_record` wrote."""
        metrics = [Metric(**fields) for fields in record["metrics"]]
        return cls(record["primary"], tuple(record["shown"]), {metric.name: metric for metric in metrics})

    def to_record(self) -> dict[str, Any]:
        """Return plain values for ``run.json``."""
        metrics = [metric._asdict() for metric in self.metrics.values()]
        return {"primary": self.primary, "shown": list(self.shown), "metrics": metrics}

    @classmethod
    def together(cls, several: Iterable["Measures"]) -> "Measures":
        """Return the metrics of several runs; the primary metric is the most common one.

        Raises:
            ValueError: there are none.
        """
        listed = list(several)
        primary = Counter(measures.primary for measures in listed).most_common(1)
        if not primary:
            raise ValueError("no measures")
        metrics: dict[str, Metric] = {}
        for measures in listed:
            metrics = {**measures.metrics, **metrics}
        name = primary[0][0]
        shown = dict.fromkeys([name, *(each for measures in listed for each in measures.shown)])
        return cls(name, tuple(shown), metrics)

    def metric(self, name: str) -> Metric | None:
        """Return the metric with the full name ``name``; ``None`` for one that a callback logs."""
        return self.metrics.get(score_of(name)) if "/" in name else None

    def label(self, name: str) -> str:
        """Return a heading without the split: ``bits/byte``, ``bits/byte (EMA)``."""
        metric = self.metric(name)
        return (score_of(name) or name) if metric is None else metric.heading + " (EMA)" * is_averaged(name)

    def heading(self, name: str) -> str:
        """Return a heading with the split: ``test bits/byte``."""
        if "/" not in name:
            return name
        split = split_of(name) if self.metric(name) is not None else name.partition("/")[0]
        return f"{split} {self.label(name)}"

    def headings(self) -> dict[str, str]:
        """Return the headings of the metrics of a compact table, by name."""
        split = {name: "" if split_of(name) == VALIDATION else f" ({split_of(name)})" for name in self.shown}
        return {name: f"{self.label(name)}{split[name]}" for name in self.shown}

    def better(self, name: str, requested: str | None = None, option: str = "direction") -> Better:
        """Return the direction in which a metric is better; lower for one that a callback logs, unless requested.

        Args:
            requested: ``minimize`` or ``maximize``, the value of ``option``.

        Raises:
            UserError: ``requested`` is no direction, or not that of the metric.
        """
        check_direction(requested, option)
        metric = self.metric(name)
        if metric is None:
            return "higher" if requested == DIRECTIONS["higher"] else "lower"
        if requested not in (None, DIRECTIONS[metric.better]):
            raise UserError(f"{option}={requested}: expected {DIRECTIONS[metric.better]} for {name}")
        return metric.better

    def written(self, name: str, value: float | None) -> str:
        """Return a value as tables show it: four decimals for a metric that a callback logs, empty for ``None``."""
        metric = self.metric(name)
        return "" if value is None else written(value, "{:.4f}" if metric is None else metric.form)

    def names(self, split: str = VALIDATION) -> list[str]:
        """Return the full names of all metrics on a split."""
        return [f"{split}/{name}" for name in self.metrics]

    @property
    def everything(self) -> list[str]:
        """Full names of the metrics that a validation measures: those that tables show, then the others."""
        return list(dict.fromkeys([*self.shown, *self.names()]))


def check_direction(requested: str | None, option: str) -> None:
    """Refuse the value of ``option`` if it is no direction. Raises ``UserError``."""
    if requested not in (None, *DIRECTIONS.values()):
        raise UserError(f"{option}={requested}: expected minimize or maximize")


def cost(value: float | None, better: Better) -> float:
    """Return a value with its sign set so that less is better; infinity for ``None`` and values that are not finite."""
    if value is None or not math.isfinite(value):
        return math.inf
    return value if better == "lower" else -value


def is_averaged(name: str) -> bool:
    """Return whether a metric is a score of the averaged weights: ``ema/loss``."""
    return name.partition("/")[0] == _AVERAGED


def averaged(name: str) -> str:
    """Return ``ema/loss`` of ``validation/loss``: the same score of the averaged weights."""
    return f"{_AVERAGED}/{score_of(name)}"


def split_of(name: str) -> str:
    """Return ``test`` of ``test/loss``, and ``validation`` of ``ema/loss``."""
    return VALIDATION if is_averaged(name) else name.partition("/")[0]


def score_of(name: str) -> str:
    """Return ``loss`` of ``test/loss``."""
    return name.partition("/")[2]


def on_split(name: str, split: str) -> str:
    """Return the same score on another split; a score of averaged weights becomes that of the final weights."""
    return name if split == split_of(name) else f"{split}/{score_of(name)}"
