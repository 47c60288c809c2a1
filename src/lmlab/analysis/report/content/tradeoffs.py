"""The cost of a better score: the Pareto front against operations, memory, time, size and speed of generation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmlab.analysis.comparison import Arm, Comparison, Setting
from lmlab.analysis.options import text_of, varied
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import caption, data_of, listed, of_those_shown, short, shown
from lmlab.analysis.report.document import Axis, Chart, Section, Series
from lmlab.errors import UserError
from lmlab.numerals import compact


def front(points: Sequence[Sequence[float]], minimize: Sequence[bool]) -> list[int]:
    """Return the indices of the points that no other point dominates, in ascending order.

    A point dominates another if it is at least as good in every objective and better in one, so equal points are on the
    front together. A point with a nan is not on the front, and dominates none.

    Args:
        points: [N][K].
        minimize: [K]: True where lower is better.

    Raises:
        UserError: a point does not have one value for each objective.
    """
    for point in points:
        if len(point) != len(minimize):
            raise UserError(f"a point of {len(minimize)} objectives has {len(point)} values: {list(point)}")
    costs = np.array(points, dtype=np.float64).reshape(len(points), len(minimize))
    costs = np.where(minimize, costs, -costs)
    complete = np.flatnonzero(~np.isnan(costs).any(axis=1))
    order = complete[np.lexsort(costs[complete].T[::-1])]  # what dominates a point comes before it
    indices: list[int] = []
    for index in order.tolist():
        others = costs[indices]
        dominated = (others <= costs[index]).all(axis=1) & (others < costs[index]).any(axis=1)
        if not dominated.any():
            indices.append(index)
    return sorted(indices)


POINTS = 200
"""Settings of an arm that are drawn: those on the front, and the best of the others."""


@dataclass(frozen=True)
class Cost:
    """A cost to compare a score with.

    Attributes:
        minimize: True if lower is better.
    """

    name: str
    label: str
    of: Callable[[Record], float | None]
    minimize: bool = True


def _memory(run: Record) -> float | None:
    size = run.metric("timings/peak_memory_bytes")
    return None if size is None else size / 2**20


COSTS = (
    Cost("flops", "training operations (FLOPs)", lambda run: run.training_flops),
    Cost("memory", "peak memory (MiB)", _memory),
    Cost("generation", "generation speed (tokens/s)", lambda run: run.metric("generation/tokens_per_second"), False),
    Cost("seconds", "training time (s)", lambda run: run.metric("timings/seconds")),
    Cost("parameters", "parameters (count)", lambda run: run.metric("sizes/parameters/total")),
)


@dataclass(frozen=True, eq=False)
class _Point:
    arm: Arm
    setting: Setting
    cost: float
    score: float


def tradeoffs(comparison: Comparison) -> Section | None:
    """Plot every setting's score against each cost in which settings differ, with the Pareto front."""
    charts = [chart for cost in COSTS if (chart := _chart(comparison, cost))]
    return Section("Trade-offs", charts) if charts else None


def _chart(comparison: Comparison, cost: Cost) -> Chart | None:
    points = [
        _Point(arm, setting, value, score)
        for arm in shown(comparison)
        for setting in arm.distinct_settings
        if math.isfinite(score := setting.mean(comparison.selection_metric))
        and (value := _mean(setting, cost)) is not None
    ]
    if len({point.cost for point in points}) < 2:
        return None
    minimize = comparison.minimizes
    best = [points[i] for i in front([(p.cost, p.score) for p in points], (cost.minimize, minimize))]
    best.sort(key=lambda point: point.cost)
    series = [
        _series(arm, cost, drawn(own, best, minimize))
        for arm in shown(comparison)
        if (own := [point for point in points if point.arm is arm])
    ]
    line = Series("Pareto front", "", {cost.name: [p.cost for p in best]}, [p.score for p in best], kind="dashes")
    low, high = min(p.cost for p in points), max(p.cost for p in points)
    label = comparison.selection_heading
    members = listed([f"{p.arm.name} ({short(p.score)} at {compact(p.cost)})" for p in best], most=6)
    return Chart(
        f"{cost.name}-front",
        caption(f"{label} against {cost.label.partition(' (')[0]}, on {data_of(comparison)}"),
        {cost.name: Axis(cost.label, log=low > 0 and high >= 4 * low)},
        Axis(label),
        [*series, line],
        f"No other setting is better in both than {members}.",
        f"Each point is a setting, the mean of its seeds; dashes: the Pareto front; at most {POINTS} points an "
        f"arm.{of_those_shown(comparison)}",
    )


def drawn(points: Sequence[_Point], best: Sequence[_Point], minimize: bool) -> list[_Point]:
    """Return the points on the front and the best of the others, at most ``POINTS`` unless the front has more."""
    on_front = [point for point in points if point in best]
    others = sorted((p for p in points if p not in best), key=lambda p: p.score if minimize else -p.score)
    return [*on_front, *others[: max(0, POINTS - len(on_front))]]


def _series(arm: Arm, cost: Cost, points: Sequence[_Point]) -> Series:
    options = varied([setting.runs[0] for setting in arm.settings])
    details = [
        ", ".join(f"{option}={text_of(point.setting.runs[0], option)}" for option in options)
        or f"{len(point.setting.runs)} seeds"
        for point in points
    ]
    places = {cost.name: [point.cost for point in points]}
    return Series(arm.name, arm.name, places, [point.score for point in points], kind="points", details=details)


def _mean(setting: Setting, cost: Cost) -> float | None:
    values = [value for run in setting.runs if (value := cost.of(run)) is not None and math.isfinite(value)]
    return sum(values) / len(values) if values else None
