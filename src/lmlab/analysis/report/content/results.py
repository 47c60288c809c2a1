"""Scores of the arms with intervals, and their differences with tests."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.content.captions import of_runs
from lmlab.analysis.report.content.contrasts import (
    Contrast,
    all_pairs,
    contrasts,
    correction,
    number_format,
    tests_counted,
    unbeaten,
)
from lmlab.analysis.report.document import Cell, Column, Interval, Table
from lmlab.analysis.statistics.intervals import Estimate, bootstrap_interval, mean_interval

Row = list[Cell | Interval]

NOTE = "Mean over seeds with its 95 % interval (Student's t); a seed is one run."
_BOLD = " Bold: the best mean, and those that do not differ significantly from it."
_BOOTSTRAP = (
    "The bootstrap interval assumes no distribution, but is too narrow for few seeds: of 3 it covers 71 %, of 5 85 %."
)


def interval(estimate: Estimate) -> Interval | float:
    """Return the table cell of an estimate: the number with its interval, or alone if it has none."""
    if estimate.low != estimate.low:
        return estimate.mean
    return Interval(estimate.mean, estimate.low, estimate.high)


def results(comparison: Comparison) -> Table:
    """Return the main table: scores, differences to the baseline with their intervals, and verdicts."""
    label, differences = comparison.label, contrasts(comparison)
    title = f"Results: {comparison.heading} on {of_runs(comparison)}"
    form = number_format(differences)
    best = unbeaten(comparison)
    by_arm = {id(one.arm): one for one in differences}
    rows: list[Row] = []
    for arm in comparison.arms:
        estimate = mean_interval(list(arm.scores(comparison.metric).values()))
        row: Row = [arm.name, estimate.n, interval(estimate)]
        if one := by_arm.get(id(arm)):
            rows.append([*row, interval(one.paired.difference), _or_none(one.p_value), verdict(comparison, one)])
        else:
            rows.append([*row, None, None, "baseline"])
    columns = [
        Column("arm"),
        Column("seeds"),
        Column(label, "mean [95 % interval]", form, "lower" if comparison.minimizes else "higher", best),
    ]
    if not differences:
        return Table("results", title, columns, [row[:3] for row in rows], NOTE)
    baseline = comparison.arms[0].name
    columns += [
        Column(f"difference to {baseline}", "mean [95 % interval]", form),
        Column("p", "t test" + (f", {name}" if (name := correction(comparison)) else ""), "{:.2g}"),
        Column("verdict", f"against {baseline}"),
    ]
    note = f"{NOTE}{_BOLD if best else ''} {_tests_note(comparison)}"
    return Table("results", title, columns, rows, note)


def verdict(comparison: Comparison, one: Contrast) -> str:
    """Return how an arm compares with another: ``better``, ``worse``, ``not significant`` or ``not tested``."""
    if one.p_value != one.p_value:
        return "not tested"
    if not one.is_significant:
        return "not significant"
    return "better" if (one.paired.difference.mean < 0) == comparison.minimizes else "worse"


def statistics(comparison: Comparison) -> Table | None:
    """Return the scores by other methods, and the test of a single difference; ``None`` with one seed of each arm."""
    differences = contrasts(comparison)
    form = number_format(differences)
    by_arm = {id(one.arm): one for one in differences}
    single = len(differences) == 1  # of several, :func:`pairs` has these columns
    rows: list[Row] = []
    for arm in comparison.arms:
        scores = list(arm.scores(comparison.metric).values())
        row: Row = [arm.name, None, None]
        if len(scores) > 1:
            row = [arm.name, interval(bootstrap_interval(scores)), mean_interval(scores).sd]
        one = by_arm.get(id(arm))
        rows.append([*row, *(_further(one) if one else (None, None, None))])
    if all(row[1] is None for row in rows):
        return None
    columns = [
        Column("arm"),
        Column(f"{comparison.label}, bootstrap", "mean [BCa interval]", form),
        Column("standard deviation", "over seeds", form),
    ]
    columns += _further_columns(comparison) if single else []
    baseline = f" Tests are against {comparison.arms[0].name}." if single else ""
    return Table(
        "statistics",
        f"Further statistics: {comparison.heading} on {of_runs(comparison)}",
        columns,
        [row[: len(columns)] for row in rows],
        f"{_BOOTSTRAP}{baseline}",
    )


def pairs(comparison: Comparison) -> Table | None:
    """Compare every arm with every other, better arms first; ``None`` if the results already show the only pair."""
    every = all_pairs(comparison)
    if len(every) < 2:
        return None
    form = number_format(every)
    place = {id(arm): number for number, arm in enumerate(comparison.ranked)}
    facing = [one if place[id(one.arm)] < place[id(one.reference)] else one.turned() for one in every]
    facing.sort(key=lambda one: (place[id(one.arm)], place[id(one.reference)]))
    rows: list[Row] = [
        [
            one.arm.name,
            one.reference.name,
            one.paired.n,
            interval(one.paired.difference),
            _or_none(one.p_value),
            verdict(comparison, one),
            *_further(one),
        ]
        for one in facing
    ]
    columns = [
        Column("arm"),
        Column("against"),
        Column("seeds"),
        Column("difference", comparison.label, form),
        Column("p", "t test" + (f", {name}" if (name := correction(comparison)) else ""), "{:.2g}"),
        Column("verdict"),
        *_further_columns(comparison),
    ]
    note = f"The arm with the better mean comes first. {_tests_note(comparison)}"
    return Table("pairs", f"All pairs of arms: {comparison.heading} on {of_runs(comparison)}", columns, rows, note)


def _further(one: Contrast) -> Row:
    """Return the distribution-free p value of a difference, its effect size, and the name of the test."""
    test = one.paired
    tested = test.p_value == test.p_value
    return [test.permutation_p_value if tested else None, interval(test.effect_size) if tested else None, test.test]


def _further_columns(comparison: Comparison) -> list[Column]:
    """Return the columns of :func:`_further`."""
    return [
        Column(f"p ({_relabelling(comparison)})", correction(comparison), "{:.2g}"),
        Column("effect size", "Hedges' g", "{:.2f}"),
        Column("test"),
    ]


def _or_none(value: float) -> float | None:
    return value if value == value else None


def _relabelling(comparison: Comparison) -> str:
    """Return the name of the permutation test: sign flips, unless some arms do not share seeds."""
    return "sign flips" if all(one.is_paired for one in all_pairs(comparison)) else "permutation"


def _tests_note(comparison: Comparison) -> str:
    unpaired = not all(one.is_paired for one in all_pairs(comparison))
    note = "Differences are over the seeds that both arms have"
    if unpaired:
        note += ", or over all where they share fewer than two (Welch's test, without an interval of the effect)"
    note += f"; p values are two-sided, those of {_relabelling(comparison)} assume no distribution."
    number = tests_counted(comparison)
    if number < 2:
        return note
    return (
        f"{note} All p values, and the intervals of differences and effects, are corrected for the {number} pairs of "
        "arms that can be tested (Bonferroni; Dunn 1961): together the intervals cover with 95 %, and one excludes "
        "zero exactly where the p value of its t test is below 0.05."
    )
