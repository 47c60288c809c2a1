"""The loss against parameters, tokens and operations, if runs differ enough in them for a fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.report.content.arms import interval
from lmlab.analysis.report.content.captions import caption, data_of, of_those_shown, short, shown
from lmlab.analysis.report.document import Axis, Cell, Chart, Column, Interval, Part, Section, Series, Table
from lmlab.analysis.statistics.scaling import Law, ScalingLaw, power_law, scaling_law
from lmlab.errors import UserError

BUDGETS = 30
"""Points of a law's curve."""


@dataclass(frozen=True)
class Point:
    """The best setting of a size and a number of tokens."""

    parameters: float
    tokens: float
    flops: float
    loss: float


@dataclass(frozen=True, eq=False)
class _Fitted:
    arm: Arm
    points: Sequence[Point]
    law: Law


def scaling(comparison: Comparison) -> Section | None:
    """Fit a scaling law to every arm whose runs determine one: in parameters and tokens, or in operations alone."""
    measures = comparison.measures
    falling = [name for name in measures.shown if measures.better(name) == "lower"]
    metric = comparison.selection_metric if comparison.minimizes else next(iter(falling), None)
    if metric is None:
        return None
    heading = measures.heading(metric)
    fits = [fitted for arm in shown(comparison) if (fitted := _fitted(arm, metric))]
    if not fits:
        return None
    parts: list[Part] = [_chart(comparison, fits, heading)]
    if both := [(one, one.law) for one in fits if isinstance(one.law, ScalingLaw)]:
        rows: list[list[Cell | Interval]] = []
        for one, law in both:
            E, A, B, alpha, beta = map(interval, law.coefficients)
            largest = max(one.points, key=lambda point: point.flops)
            ratio = _tokens_per_parameter(law, largest)
            rows.append([one.arm.name, len(one.points), E, A, alpha, B, beta, law.error, ratio])
        columns = [*map(Column, ("arm", "points")), *_terms("E", "A", "alpha", "B", "beta")]
        columns += [Column("error of the fit", form="{:.2%}"), Column("best tokens per parameter", form="{:.1f}")]
        note = (
            "Loss = E + A / parameters^alpha + B / tokens^beta (Hoffmann et al. 2022, equation 2), with 95 % bootstrap "
            "intervals; all parameters are counted. The last column is for the operations of the largest run."
        )
        parts.append(
            Table(
                "scaling",
                f"Scaling with parameters and tokens: {heading} on {data_of(comparison)}",
                columns,
                rows,
                note,
            )
        )
    if only := [one for one in fits if not isinstance(one.law, ScalingLaw)]:
        rows = [[one.arm.name, len(one.points), *map(interval, one.law.coefficients), one.law.error] for one in only]
        columns = [*map(Column, ("arm", "points")), *_terms("c", "a", "b"), Column("error of the fit", form="{:.2%}")]
        note = "Loss = c + a / FLOPs^b, with 95 % bootstrap intervals."
        parts.append(
            Table("power-law", f"Scaling with operations: {heading} on {data_of(comparison)}", columns, rows, note)
        )
    return Section("Scaling", parts)


def points(arm: Arm, metric: str) -> list[Point]:
    """Return the best setting of each size and number of tokens, as the mean of its seeds."""
    best: dict[tuple[float, float], Point] = {}
    for setting in arm.distinct_settings:
        scores = list(setting.scores(metric).values())
        first = setting.runs[0]
        size, tokens, flops = (
            first.metric("sizes/parameters/total"),
            first.metric("timings/tokens"),
            first.training_flops,
        )
        if size is None or tokens is None or flops is None or not scores or not all(map(math.isfinite, scores)):
            continue
        point = Point(size, tokens, flops, sum(scores) / len(scores))
        previous = best.get((size, tokens))
        if previous is None or point.loss < previous.loss:
            best[size, tokens] = point
    return sorted(best.values(), key=lambda point: point.flops)


def _fitted(arm: Arm, metric: str) -> _Fitted | None:
    settings = points(arm, metric)
    flops, losses = [point.flops for point in settings], [point.loss for point in settings]
    try:
        sizes, tokens = [point.parameters for point in settings], [point.tokens for point in settings]
        return _Fitted(arm, settings, scaling_law(sizes, tokens, losses))
    except UserError:  # too few runs, or too similar ones
        pass
    try:
        return _Fitted(arm, settings, power_law(flops, losses))
    except UserError:
        return None


def _tokens_per_parameter(law: ScalingLaw, point: Point) -> float | None:
    try:
        best = law.optimal(point.flops, point.flops / (point.parameters * point.tokens))
    except UserError:  # the loss does not fall with both
        return None
    return best.tokens.mean / best.parameters.mean


def _curve(one: _Fitted) -> tuple[list[float], list[Interval]]:
    """Return losses at budgets between the least and the greatest; a law of two quantities is used at its optimum."""
    budgets = np.geomspace(one.points[0].flops, one.points[-1].flops, BUDGETS).tolist()
    if not isinstance(one.law, ScalingLaw):
        bounds = zip(one.law.predict(budgets), *one.law.band(budgets), strict=True)
        return budgets, [Interval(float(mean), float(low), float(high)) for mean, low, high in bounds]
    each = float(np.median([point.flops / (point.parameters * point.tokens) for point in one.points]))
    try:
        losses = [one.law.optimal(budget, each).loss for budget in budgets]
    except UserError:  # no allocation is best
        return [], []
    return budgets, [Interval(loss.mean, loss.low, loss.high) for loss in losses]


def _chart(comparison: Comparison, fits: Sequence[_Fitted], label: str) -> Chart:
    series = []
    for one in fits:
        details = [f"{point.parameters:,.0f} parameters, {point.tokens:,.0f} tokens" for point in one.points]
        places = {"flops": [point.flops for point in one.points]}
        losses = [point.loss for point in one.points]
        series.append(Series(one.arm.name, one.arm.name, places, losses, kind="points", details=details))
        budgets, curve = _curve(one)
        if budgets:
            means, low, high = [e.value for e in curve], [e.low for e in curve], [e.high for e in curve]
            series.append(
                Series(f"{one.arm.name}, fitted", one.arm.name, {"flops": budgets}, means, low, high, kind="dashes")
            )
    words = [
        f"{one.arm.name} from {short(one.points[0].loss)} to {short(min(p.loss for p in one.points))}" for one in fits
    ]
    return Chart(
        "scaling-flops",
        caption(f"{label} against operations, and the laws fitted to it, on {data_of(comparison)}"),
        {"flops": Axis("training operations (FLOPs)", log=True)},
        Axis(label),
        series,
        f"{label} from the smallest budget to the best: {'; '.join(words)}.",
        "Points: the best setting of each size and number of tokens. Dashes: the fitted law, operations spent in the "
        f"best way on parameters and tokens, with its 95 % band.{of_those_shown(comparison)}",
    )


def _terms(*names: str) -> list[Column]:
    return [Column(name, form="{:.4g}") for name in names]
