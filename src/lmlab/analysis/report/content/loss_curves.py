"""Learning curves of each arm, with a band over seeds."""

import math
from collections.abc import Sequence
from functools import reduce
from statistics import median_low

import numpy as np

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.curves import AXES, Array, thinned
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import caption, listed, of_runs, of_those_shown, short, shown
from lmlab.analysis.report.document import Axis, Chart, Section, Series
from lmlab.config.nodes import at
from lmlab.metrics import TRAINING_LOSS
from lmlab.numerals import counted

POINTS = 200
"""Points of a series: as many as a figure of a page's width can show."""

FAR = 3.0
"""An axis is cut off if the largest value is further above the usual range than this many times its length."""

ROOM = 0.15
"""Space above the largest value shown on an axis that is cut off, as a share of the usual range."""

_GRID = 4000
"""Points of the common grid that curves of several seeds are interpolated on before they are thinned."""


def loss_curves(comparison: Comparison) -> Section | None:
    """Plot a validation metric and the training loss against tokens, steps, FLOPs, seconds and energy."""
    labels = {TRAINING_LOSS: "training loss (nats/token)"}
    if comparison.selection_metric not in labels:
        labels = {comparison.selection_metric: comparison.selection_heading} | labels
    charts = [chart for metric, label in labels.items() if (chart := _chart(comparison, metric, label))]
    return Section("Learning curves", charts) if charts else None


def _chart(comparison: Comparison, metric: str, label: str) -> Chart | None:
    arms = [(arm, [run for run in arm.runs if _logged(run, metric)]) for arm in shown(comparison)]
    arms = [(arm, runs) for arm, runs in arms if runs]
    logged = [run for _, runs in arms for run in runs]
    axes = [axis for axis in AXES if logged and all(run.curves.axis(axis) is not None for run in logged)]
    series, ends = [], []
    for arm, runs in arms:
        if (curve := averaged(runs, metric, axes)) is None:
            continue
        along, mean, low, high = curve
        several = len(runs) > 1
        series.append(
            Series(
                arm.name,
                arm.name,
                {axis: values.tolist() for axis, values in along.items()},
                mean.tolist(),
                low.tolist() if several else None,
                high.tolist() if several else None,
            )
        )
        ends.append(f"{arm.name} ends at {short(mean[-1])} ({counted(len(runs), 'seed')})")
    if not series:
        return None
    properties = comparison.measures.metric(metric)
    falls = properties is not None and properties.better == "lower"
    top = robust_top([one.y for one in series], [bound for one in series for bound in one.high or one.y], falls)
    return Chart(
        f"curve-{metric.replace('/', '-').replace('_', '-')}",
        caption(f"{label.partition(' (')[0]} while training on {of_runs(comparison)}"),
        {axis: Axis(AXES[axis]) for axis in axes},
        Axis(label, top=top),
        series,
        f"{label} against {AXES[axes[0]]}: {'; '.join(ends)}.",
        f"Line: mean over seeds, interpolated at equal tokens; band: from the lowest to the highest seed; at most "
        f"{POINTS} points a line, extremes kept.{_of_a_part(logged, metric)}{_above(top, series)}"
        f"{of_those_shown(comparison)}",
    )


def robust_top(lines: Sequence[Sequence[float]], bounds: Sequence[float], falls: bool) -> float | None:
    """Return the end of an axis that diverged runs would make useless; ``None`` if no value has to be cut off.

    The usual range ends at the median of the first values of the lines, or of their medians if that is higher; for a
    metric that need not fall, also of their last values. If a value lies further above it than ``FAR`` times its
    length, values further above it than its length are cut off.

    Args:
        lines: the values of each line, in order.
        bounds: all values drawn, including upper ends of bands.
        falls: True if the metric falls unless training diverges.
    """
    finite = [kept for line in lines if (kept := [value for value in line if math.isfinite(value)])]
    highest = max((value for value in bounds if math.isfinite(value)), default=None)
    if not finite or highest is None:
        return None
    reference = max(median_low([line[0] for line in finite]), median_low([median_low(line) for line in finite]))
    if not falls:
        reference = max(reference, median_low([line[-1] for line in finite]))
    least = min(min(line) for line in finite)
    usual = reference - least
    if usual <= 0 or highest <= reference + FAR * usual:
        return None
    return max(value for value in [*bounds, reference] if value <= reference + usual) + ROOM * usual


def _above(top: float | None, series: Sequence[Series]) -> str:
    """Return a sentence about lines that an axis cuts off."""
    if top is None:
        return ""
    names = [one.name for one in series if any(value > top for value in one.high or one.y)]
    return f" The axis ends at {short(top)}: higher values, of {listed(names, most=6)}, are cut off."


def _of_a_part(runs: Sequence[Record], metric: str) -> str:
    """Return a sentence on the part that validations before the last score; empty if all of it, or not recorded."""
    shares = []
    for run in runs:
        counts = at(run.manifest, f"training.validation.{metric.partition('/')[0]}")
        if counts and counts["part"] < counts["all"]:
            shares.append(counts["part"] / counts["all"])
    if not shares:
        return ""
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    return (
        f" The last point scores the whole split, those before it {low if low == high else f'{low} to {high}'} of it."
    )


def _logged(run: Record, metric: str) -> bool:
    """Return whether a run logged a number of this metric; it may have diverged before the first."""
    curve = run.curves.curve(metric)
    return curve is not None and len(curve[0]) > 0


def averaged(
    runs: Sequence[Record], metric: str, axes: Sequence[str]
) -> tuple[dict[str, Array], Array, Array, Array] | None:
    """Return the mean of a metric over runs, its least and greatest, and the axes, at most ``POINTS`` of each.

    Runs need not have logged at the same steps: curves are interpolated linearly, at tokens that all runs reached.
    ``None`` if there are no such tokens.
    """
    curves = [_rising(*curve) for run in runs if (curve := run.curves.curve(metric))]
    grid = reduce(np.union1d, [tokens for tokens, _ in curves])
    first, last = max(tokens[0] for tokens, _ in curves), min(tokens[-1] for tokens, _ in curves)
    grid = grid[(grid >= first) & (grid <= last)]
    if not len(grid):
        return None
    if len(grid) > _GRID:
        grid = grid[np.linspace(0, len(grid) - 1, _GRID).astype(int)]
    values_RN = np.stack([np.interp(grid, *curve) for curve in curves])
    mean = values_RN.mean(0)
    kept = thinned(np.arange(len(grid), dtype=np.float64), mean, POINTS)[0].astype(int)
    along = {}
    for axis in axes:
        places = [np.interp(grid[kept], *_rising(run.curves.columns["tokens"], run.curves.axis(axis))) for run in runs]
        along[axis] = np.mean(places, 0)
    return along, mean[kept], values_RN.min(0)[kept], values_RN.max(0)[kept]


def _rising(tokens: Array, values: Array | None) -> tuple[Array, Array]:
    """Sort a curve by tokens and remove duplicates: a resumed run may have logged the same tokens again."""
    assert values is not None
    if np.all(np.diff(tokens) > 0):
        return tokens, values
    unique, last = np.unique(tokens[::-1], return_index=True)
    return unique, values[::-1][last]
