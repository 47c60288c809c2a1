"""Curves of a run that is still being logged: each row is read once, and drawn curves are cached."""

from pathlib import Path

import numpy as np

from lmlab.analysis.curves import Array, Curves, thinned
from lmlab.runs.logged import Log

Drawn = dict[str, list[float]] | None
"""``x``, ``y`` and ``step``, equally long."""


class Growing:
    """Curves of the rows that a run has logged so far.

    Args:
        path: ``metrics.jsonl``.
        flops_per_token: see :class:`lmlab.analysis.curves.Curves`.
    """

    def __init__(self, path: Path, flops_per_token: float) -> None:
        self._log = Log(path)
        self._drawn: dict[tuple[str, str, int], tuple[Curves, Drawn]] = {}
        self.curves = Curves(self._log.logged.columns, flops_per_token)

    def read(self) -> bool:
        """Read the rows added since the last call; return whether anything has changed."""
        changed = self._log.read()
        if changed:
            # A new object each time, because another thread may still be drawing the old one.
            self.curves = Curves(self._log.logged.columns, self.curves.flops_per_token)
        return changed

    def drawn(self, metric: str, axis: str, points: int) -> Drawn:
        """Return a metric against an axis with at most ``points`` points, without values that are not finite.

        ``None`` if the metric was not logged or the axis is unknown.
        """
        key, curves = (metric, axis, points), self.curves
        drawn = self._drawn.get(key)
        if drawn is None or drawn[0] is not curves:
            curve = curves.curve(metric, axis)
            steps = curves.curve(metric, "step")
            drawn = self._drawn[key] = curves, curve and steps and _plain(*curve, steps[0], points)
        return drawn[1]


def _plain(x: Array, y: Array, steps: Array, points: int) -> Drawn:
    finite = np.flatnonzero(np.isfinite(y) & np.isfinite(x))
    kept = thinned(finite.astype(np.float64), y[finite], points)[0].astype(int)
    return {"x": x[kept].tolist(), "y": y[kept].tolist(), "step": steps[kept].tolist()}
