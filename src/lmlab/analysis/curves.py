"""A run's logged metrics as columns of numbers against any axis, reduced to the points that a figure can show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmlab.runs.rows import PLACES, Array

AXES = {
    "tokens": "training tokens",
    "step": "optimizer steps",
    "flops": "training operations (FLOPs)",
    "seconds": "training time (s)",
    "joules": "training energy (J)",
}
"""X axes of figures, with their labels."""

_LOGGED = {"seconds": "time/seconds", "joules": "time/joules"}
"""Axes that a run measures."""


@dataclass(frozen=True)
class Curves:
    """The metrics of one run.

    Attributes:
        columns: by name, [N]; nan where a row lacks the metric. ``step`` and ``tokens`` are always present and
            complete. For a long run, these are the rows that :mod:`lmlab.runs.logged` keeps.
        flops_per_token: operations of training on one token.
    """

    columns: Mapping[str, Array]
    flops_per_token: float

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], flops_per_token: float) -> "Curves":
        """Turn rows of ``metrics.jsonl`` into columns."""
        rows = list(rows)
        names = dict.fromkeys(name for row in (PLACES, *rows) for name in row)
        columns = {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}
        return cls(columns, flops_per_token)

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics that can be drawn."""
        return [name for name in self.columns if name not in (*PLACES, *_LOGGED.values())]

    def axis(self, axis: str) -> Array | None:
        """Return the values of an axis, one a row, interpolated between measurements; ``None`` if unknown."""
        if axis == "flops":
            return None if np.isnan(self.flops_per_token) else self.columns["tokens"] * self.flops_per_token
        if axis not in _LOGGED:
            return self.columns.get(axis)
        measured = self.columns.get(_LOGGED[axis])
        if measured is None:
            return None
        is_measured = ~np.isnan(measured)
        tokens = self.columns["tokens"]
        return np.interp(tokens, np.r_[0.0, tokens[is_measured]], np.r_[0.0, measured[is_measured]])

    def curve(self, metric: str, axis: str = "tokens") -> tuple[Array, Array] | None:
        """Return a metric against an axis, both [M], at the rows that have it; ``None`` if either is missing."""
        values, along = self.columns.get(metric), self.axis(axis)
        if values is None or along is None:
            return None
        is_logged = ~np.isnan(values)
        return along[is_logged], values[is_logged]


def thinned(x: Array, y: Array, points: int) -> tuple[Array, Array]:
    """Return at most ``points`` of a curve: the first, the last, and the least and greatest of equal stretches.

    No extreme is lost. A curve that is short enough is returned unchanged.
    """
    if len(x) <= points:
        return x, y
    inner, count = y[1:-1], max(1, (points - 2) // 2)
    lengths = np.full(count, len(inner) // count)
    lengths[: len(inner) % count] += 1
    starts, stretch = np.cumsum(lengths) - lengths, np.repeat(np.arange(count), lengths)
    kept = [np.array([0, len(x) - 1])]
    for extreme in (np.fmin, np.fmax):  # both skip nan
        at = np.flatnonzero(inner == extreme.reduceat(inner, starts)[stretch])
        kept.append(1 + at[np.unique(stretch[at], return_index=True)[1]])
    indices = np.unique(np.concatenate(kept))
    return x[indices], y[indices]
