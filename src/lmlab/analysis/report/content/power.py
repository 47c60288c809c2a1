"""Number of seeds needed to tell arms apart, and the difference that the existing seeds can resolve."""

import math
from collections.abc import Sequence

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.content.captions import data_of, short
from lmlab.analysis.report.content.contrasts import ALPHA, Contrast, contrasts, level, number_format
from lmlab.analysis.report.document import Axis, Cell, Chart, Column, Section, Series, Table
from lmlab.analysis.statistics.pairs import resolvable, seeds_needed
from lmlab.errors import UserError

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Differences that may matter, as shares of the baseline's mean."""

SEEDS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)


def power(comparison: Comparison) -> Section | None:
    """Show the seeds needed for several differences; ``None`` if no pairs of runs determine how much they vary."""
    testable = [one for one in contrasts(comparison) if one.is_paired and not math.isnan(one.p_value)]
    return (
        Section("Number of seeds needed", [_table(comparison, testable), _chart(comparison, testable)])
        if testable
        else None
    )


def seeds_for(contrast: Contrast, difference: float, alpha: float) -> int | None:
    """Return the paired seeds with which a t test detects a true difference (80 % power); ``None`` if none do."""
    try:
        return seeds_needed(contrast.paired.difference.sd, difference, alpha=alpha)
    except UserError:  # no difference, or one that would take more than a million seeds
        return None


def _table(comparison: Comparison, testable: Sequence[Contrast]) -> Table:
    form, label = number_format(testable), comparison.heading
    alpha = level(comparison)
    scale = abs(comparison.arms[0].mean(comparison.metric))
    rows: list[list[Cell]] = []
    for one in testable:
        difference = one.paired.difference
        now = resolvable(difference.sd, one.paired.n, alpha=alpha)
        needed = [seeds_for(one, share * scale, alpha) for share in SHARES]
        rows.append([one.arm.name, one.paired.n, difference.sd, now, seeds_for(one, difference.mean, alpha), *needed])
    columns = [
        Column("arm"),
        Column("paired seeds"),
        Column("standard deviation of differences", label, form),
        Column("resolvable now", label, form),
        Column("seeds for the difference seen", form="{:,}"),
        *(Column(f"seeds for {share:.1%} of {comparison.arms[0].name}", form="{:,}") for share in SHARES),
    ]
    note = (
        f"Seeds with which a two-sided paired t test against {comparison.arms[0].name} {_at(comparison)} finds a true "
        "difference with a probability of 80 %. The standard deviation is itself estimated from these few seeds."
    )
    return Table("power", f"Seeds needed to find a difference in {label} on {data_of(comparison)}", columns, rows, note)


def _chart(comparison: Comparison, testable: Sequence[Contrast]) -> Chart:
    label, baseline = comparison.heading, comparison.arms[0].name
    series = []
    for one in testable[:12]:
        least = [resolvable(one.paired.difference.sd, n, alpha=level(comparison)) for n in SEEDS]
        series.append(Series(one.arm.name, one.arm.name, {"seeds": [float(n) for n in SEEDS]}, least))
    words = [f"with 5 seeds {one.name} must differ by {short(one.y[SEEDS.index(5)])}" for one in series]
    return Chart(
        "resolvable-difference",
        f"The least difference to {baseline} in {label} that a number of seeds finds, on {data_of(comparison)}",
        {"seeds": Axis("paired seeds (count)", log=True)},
        Axis(
            f"difference in {label}", log=all(math.isfinite(value) and value > 0 for one in series for value in one.y)
        ),
        series,
        f"Least true difference in {label} found with a probability of 80 %: {'; '.join(words)}.",
        f"Two-sided paired t test {_at(comparison)}, power 80 %.",
    )


def _at(comparison: Comparison) -> str:
    """Return the level of the test as ``at 5 %``, with the correction for the number of pairs."""
    alpha = level(comparison)
    if alpha == ALPHA:
        return f"at {ALPHA:.0%}"
    return f"at {alpha:.2%} ({ALPHA:.0%} shared among {round(ALPHA / alpha)} pairs)"
