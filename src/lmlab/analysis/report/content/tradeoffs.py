"""The cost of a better score: the Pareto front against operations, memory, time, size and speed of generation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmlab.analysis.comparison import Arm, Comparison, Setting
from lmlab.analysis.options import text_of, varied
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import caption, compact, data_of, listed, short
from lmlab.analysis.report.content.ranking import mean_score, minimizes, of_those_shown, shown
from lmlab.analysis.report.document import Axis, Chart, Section, Series
from lmlab.analysis.statistics.pareto import front

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
        for setting in arm.settings
        if math.isfinite(score := mean_score(setting, comparison.chosen_by))
        and (value := _mean(setting, cost)) is not None
    ]
    if len({point.cost for point in points}) < 2:
        return None
    minimize = minimizes(comparison)
    best = [points[i] for i in front([(p.cost, p.score) for p in points], (cost.minimize, minimize))]
    best.sort(key=lambda point: point.cost)
    series = [
        _series(arm, cost, drawn(own, best, minimize))
        for arm in shown(comparison)
        if (own := [point for point in points if point.arm is arm])
    ]
    line = Series("Pareto front", "", {cost.name: [p.cost for p in best]}, [p.score for p in best], kind="dashes")
    low, high = min(p.cost for p in points), max(p.cost for p in points)
    label = comparison.heading_of_choice
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
