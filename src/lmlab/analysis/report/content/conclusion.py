"""The conclusion in one sentence: the result and its certainty, or the reason why there is none."""

import math
from collections import Counter
from collections.abc import Sequence

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.doubts import Doubt
from lmlab.analysis.doubts.size import equal_budgets, equal_kinds
from lmlab.analysis.report.content.captions import data_of, decimals, listed, probability
from lmlab.analysis.report.content.contrasts import Contrast, contrasts, correction, level, number_format, same_as
from lmlab.analysis.report.content.power import seeds_for
from lmlab.analysis.statistics.intervals import mean_interval
from lmlab.metrics import split_of
from lmlab.numerals import counted, written


def conclusion(comparison: Comparison, doubts: Sequence[Doubt]) -> str:
    """Return one sentence that claims no more than the runs show."""
    refused = [doubt.text for doubt in doubts if doubt.severity == "refuse"]
    if refused:
        more = f" (and {counted(len(refused) - 1, 'more reason')} below)" if len(refused) > 1 else ""
        return f"These runs cannot be compared, so there is no conclusion: {refused[0].rstrip('.')}{more}."
    if not comparison.arms:
        left = f"; {counted(len(comparison.left_out), 'run')} left out" if comparison.left_out else ""
        return f"There is nothing to compare: no run has ended with a score in {comparison.heading}{left}."
    where = f"On the {split_of(comparison.metric)} split of {data_of(comparison)}{at_equal(comparison)}"
    differences = contrasts(comparison)
    if not differences:
        said = _alone(comparison, where)
    else:
        said = (
            _pair(comparison, where, differences[0])
            if len(differences) == 1
            else _several(comparison, where, differences)
        )
    if not comparison.left_out:
        return said
    # Runs that diverged or failed are among them: leaving them out silently would favour an arm.
    by_arm = Counter(f" of {left.arm}" if left.arm else "" for left in comparison.left_out)
    left = listed([f"{counted(number, 'run')}{arm}" for arm, number in by_arm.items()])
    return f"{said.removesuffix('.')}; left out: {left}."


def _alone(comparison: Comparison, where: str) -> str:
    (arm,) = comparison.arms
    estimate = mean_interval(list(arm.scores(comparison.metric).values()))
    form = f"{{:.{decimals((estimate.high - estimate.low) / 2)}f}}"
    shown = written(estimate.mean, form)
    if estimate.n > 1 and math.isfinite(estimate.low):
        shown += f" [{written(estimate.low, form)}, {written(estimate.high, form)}]"
    return (
        f"{where}, {arm.name} reaches {shown} {comparison.label} over {counted(estimate.n, 'seed')}; "
        "there is no second arm to compare it with."
    )


def _pair(comparison: Comparison, where: str, one: Contrast) -> str:
    label = comparison.label
    better, worse = _in_order(comparison, one)
    form = number_format([one])
    means = dict(zip((one.arm.name, one.reference.name), one.means(comparison.metric), strict=True))
    scores = {arm.name: written(means[arm.name], form) for arm in (better, worse)}
    both = f"{better.name} reaches {scores[better.name]} {label} against {worse.name} {scores[worse.name]}"
    if one.diverged:
        shown = listed([f"{name} {score}" for name, score in scores.items()])
        return f"{where}, {_diverged(comparison, one)}, so a mean over seeds is meaningless ({shown})."
    if one.p_value != one.p_value:
        return f"{where}, {both}, but {_untested(one)}, so it is unknown which is better."
    if one.is_significant:
        return f"{where}, {both}: {_difference(comparison, one, form, better)}."
    needed = seeds_for(one, one.paired.difference.mean, level(comparison)) if one.is_paired else None
    more = "" if needed is None else f"; if the difference is as large as it seems, it takes {needed:,} paired seeds"
    return f"{where}, no significant difference: {both}, {_difference(comparison, one, form, better)}{more}."


def _several(comparison: Comparison, where: str, differences: Sequence[Contrast]) -> str:
    label, baseline = comparison.label, comparison.arms[0]
    form = number_format(differences)
    order = {id(arm): place for place, arm in enumerate(comparison.ranked)}
    ordered = sorted(differences, key=lambda one: order[id(one.arm)])
    apart = [one for one in ordered if one.is_significant]
    open_ones = [one for one in ordered if not one.is_significant]
    best = comparison.ranked[0]
    unequal = len({len(arm.runs) for arm in comparison.arms}) > 1

    def mean(arm: Arm, unit: str = "") -> str:
        own_seeds = f" over {counted(len(arm.runs), 'seed')}" if unequal else ""
        return f"{written(arm.mean(comparison.metric), form)}{unit}{own_seeds}"

    start = f"{where}, of {len(comparison.arms)} arms {best.name} has the best mean, {mean(best, f' {label}')}"
    reference = f"compared with {baseline.name}"
    if baseline is not best:
        reference += f" ({mean(baseline)})"
    alike = len({one.is_paired for one in ordered}) == 1
    if alike:
        reference += f" over {_seeds(ordered)}"
    clauses = [f"{one.arm.name} is {_difference(comparison, one, form, one.arm, not alike)}" for one in apart]
    if open_ones:
        names = listed([f"{one.arm.name}{_how_open(one, not alike)}" for one in open_ones])
        clauses.append(f"no significant difference for {names}")
    return f"{start}; {reference}, {'; '.join(clauses)}{_of_the_best(comparison, best)}."


def _of_the_best(comparison: Comparison, best: Arm) -> str:
    """Describe how the best arm compares with the others; empty if it is the baseline, which all are compared with."""
    baseline = comparison.arms[0]
    every = same_as(comparison, best)
    same = [arm.name for arm in every if arm is not baseline]
    if best is baseline:
        return ""
    if not same:
        other = f"arm but {baseline.name}" if every else "other arm"
        return f"; {best.name} differs significantly from every {other}"
    others = len(comparison.arms) - 2
    if len(same) == others > 1:
        return f"; {best.name} does not differ significantly from any of the other arms"
    return f"; {best.name} does not differ significantly from {listed(same)}"


def _how_open(one: Contrast, with_seeds: bool) -> str:
    if one.diverged:
        return " (a run diverged)"
    if one.p_value != one.p_value:
        return f" ({_untested(one)})"
    return f" ({probability(one.p_value)}{f' over {_seeds([one])}' if with_seeds else ''})"


def _difference(comparison: Comparison, one: Contrast, form: str, named: Arm, with_seeds: bool = True) -> str:
    """Describe the difference of the arm ``named``: ``0.069 [0.061, 0.077] lower over 5 paired seeds (p = 0.002)``."""
    difference = one.paired.difference
    sign = 1.0 if named is one.arm else -1.0
    value, low, high = sign * difference.mean, *sorted((sign * difference.low, sign * difference.high))
    way = "lower" if value < 0 else "higher"
    if value < 0:
        value, low, high = -value, -high, -low
    seeds = f" over {_seeds([one])}" if with_seeds else ""
    shown = f"{written(value, form)} [{written(low, form)}, {written(high, form)}] {way}{seeds}"
    how = f", {name}" if (name := correction(comparison)) else ""
    return f"{shown} ({probability(one.p_value)}{how})"


def _seeds(differences: Sequence[Contrast]) -> str:
    counts = sorted({one.paired.n for one in differences})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    kind = "paired seeds" if all(one.is_paired for one in differences) else "unpaired seeds"
    return f"{number} {kind if counts != [1] else 'seed'}"


def _untested(one: Contrast) -> str:
    """Return the reason why there is no p value."""
    seeds = [len(arm.runs) for arm in (one.arm, one.reference)]
    if min(seeds) < 2:
        if max(seeds) < 2:
            return "with one seed each there is no interval and no test"
        short = one.arm if seeds[0] < 2 else one.reference
        return f"{short.name} has one seed, so there is no interval and no test"
    return "every seed shows exactly the same difference, which leaves nothing to test"


def _diverged(comparison: Comparison, one: Contrast) -> str:
    def lost(arm: Arm) -> int:
        return sum(not math.isfinite(score) for score in arm.scores(comparison.metric).values())

    counts = [f"{counted(n, 'run')} of {arm.name}" for arm in (one.arm, one.reference) if (n := lost(arm))]
    return f"{' and '.join(counts)} diverged"


def _in_order(comparison: Comparison, one: Contrast) -> tuple[Arm, Arm]:
    """Return the two arms of a contrast, the better one first."""
    lower = one.paired.difference.mean < 0
    return (one.arm, one.reference) if lower == comparison.minimizes else (one.reference, one.arm)


_KINDS = {"total": "total parameters", "non_embedding": "non-embedding parameters", "matmul": "matmul parameters"}
_BUDGETS = {"tokens": "tokens", "FLOPs": "training FLOPs", "seconds": "training time"}


def at_equal(comparison: Comparison) -> str:
    """Return ``, at equal non-embedding parameters and tokens``: the properties that are equal, or an empty text."""
    if len(comparison.arms) < 2:
        return ""
    kinds, budgets = equal_kinds(comparison), equal_budgets(comparison)
    words = ["parameters"] if len(kinds) == len(_KINDS) else [_KINDS[kind] for kind in kinds]
    words += [_BUDGETS[budget] for budget in budgets]
    return f", at equal {listed(words)}" if words else ""
