"""Loss while training, arm by arm, with a band over seeds."""

import math
from collections.abc import Sequence
from functools import reduce
from statistics import median_low

import numpy as np

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.curves import AXES, Array, thinned
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import caption, listed, of_runs, short
from lmlab.analysis.report.content.ranking import of_those_shown, shown
from lmlab.analysis.report.document import Axis, Chart, Section, Series
from lmlab.metrics import TRAINING_LOSS
from lmlab.numerals import counted

POINTS = 200
"""Points of a series: what a figure of a page's width can show."""

FAR = 3.0
"""Distance of the largest value above the usual range from which an axis is cut off, in lengths of that range."""

ROOM = 0.15
"""Room of an axis that is cut off above the largest value that it shows, as a share of the usual range."""

_GRID = 4000
"""Points of the common grid that curves of several seeds are interpolated on before they are thinned."""


def loss_curves(comparison: Comparison) -> Section | None:
    """A metric of validations and the loss of training batches against tokens, steps, FLOPs, seconds and energy."""
    labels = {TRAINING_LOSS: "training loss (nats/token)"}
    if comparison.chosen_by not in labels:
        labels = {comparison.chosen_by: comparison.heading_of_choice} | labels
    charts = [chart for metric, label in labels.items() if (chart := _chart(comparison, metric, label))]
    return Section("Learning curves", charts) if charts else None


def _chart(comparison: Comparison, metric: str, label: str) -> Chart | None:
    arms = [(arm, [run for run in arm.chosen.runs if _logged(run, metric)]) for arm in shown(comparison)]
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
    known = comparison.measures.metric(metric)
    falls = known is not None and known.better == "lower"
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
    """Return where an axis ends that runs which diverged would make useless; ``None``: all values have room.

    The usual range ends where half of the lines begin or have their middle, and of a metric that need not fall, where
    half of them end. Where something lies further above it than ``FAR`` times its length, what lies further above it
    than its length is cut off.

    Args:
        lines: the values of each line, in order.
        bounds: all that is drawn, upper ends of bands included.
        falls: whether the metric falls unless training diverges.
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
    """A sentence about lines that an axis cuts off."""
    if top is None:
        return ""
    names = [one.name for one in series if any(value > top for value in one.high or one.y)]
    return f" The axis ends at {short(top)}: higher values, of {listed(names, most=6)}, are cut off."


def _of_a_part(runs: Sequence[Record], metric: str) -> str:
    """A sentence about what validations before the last score; empty where they score all, or it is not recorded."""
    shares = []
    for run in runs:
        counts = run.manifest.get("training", {}).get("validation", {}).get(metric.partition("/")[0])
        if counts and counts["part"] < counts["all"]:
            shares.append(counts["part"] / counts["all"])
    if not shares:
        return ""
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    return (
        f" The last point scores the whole split, those before it {low if low == high else f'{low} to {high}'} of it."
    )


def _logged(run: Record, metric: str) -> bool:
    """Whether a run has a number of this metric at all: it may have diverged before the first."""
    curve = run.curves.curve(metric)
    return curve is not None and len(curve[0]) > 0


def averaged(
    runs: Sequence[Record], metric: str, axes: Sequence[str]
) -> tuple[dict[str, Array], Array, Array, Array] | None:
    """The mean of a metric over runs with its least and greatest, at most ``POINTS`` of each, and the axes there.

    Runs need not have logged at the same steps: curves are linear between what was logged, at tokens that all runs
    reached. ``None``: no such tokens.
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
    """A curve in the order of tokens, once each: a run that goes on may have logged the same tokens again."""
    assert values is not None
    if np.all(np.diff(tokens) > 0):
        return tokens, values
    unique, last = np.unique(tokens[::-1], return_index=True)
    return unique, values[::-1][last]
