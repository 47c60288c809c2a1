"""Comparisons of all pairs of arms; the first arm of a comparison is the baseline."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.report.content.captions import decimals
from lmlab.analysis.statistics.pairs import Paired, number_tested, simultaneous

ALPHA = 0.05
"""A corrected p value below this is called a difference."""


@dataclass(frozen=True)
class Contrast:
    """An arm compared with another, the reference.

    Attributes:
        arm, reference: the two arms; differences are the arm's score minus the reference's.
        paired: the test over the seeds that both have, its p values and intervals corrected for all pairs of arms.
    """

    arm: Arm
    reference: Arm
    paired: Paired

    @property
    def p_value(self) -> float:
        """The corrected p value; nan if no test is possible."""
        return self.paired.p_value

    def turned(self) -> "Contrast":
        """Return the same pair seen from the other arm."""
        return Contrast(self.reference, self.arm, self.paired.turned())

    @property
    def is_significant(self) -> bool:
        """True if the two arms differ by more than chance explains."""
        return self.p_value < ALPHA

    @property
    def is_paired(self) -> bool:
        """True if the two arms share the seeds that they are compared over."""
        return self.paired.test == "paired t"

    def means(self, metric: str) -> tuple[float, float]:
        """Return the means of the arm and of the reference, over the seeds whose difference is tested."""
        scores = [each.scores(metric) for each in (self.arm, self.reference)]
        shared = scores[0].keys() & scores[1].keys()
        of_arm, of_reference = (
            [value for seed, value in each.items() if seed in shared or not self.is_paired] for each in scores
        )
        return sum(of_arm) / len(of_arm), sum(of_reference) / len(of_reference)

    @property
    def diverged(self) -> bool:
        """True if a run's score is not a finite number, so that nothing can be tested."""
        return not math.isfinite(self.paired.difference.mean)


@lru_cache(maxsize=1)  # several sections of one report use it, and resampling takes seconds
def all_pairs(comparison: Comparison) -> tuple[Contrast, ...]:
    """Compare every arm with each one before it, by seed, corrected for the number of pairs."""
    pairs = list(itertools.combinations(comparison.arms, 2))
    scores = {id(arm): arm.scores(comparison.metric) for arm in comparison.arms}
    tests = simultaneous([(scores[id(arm)], scores[id(before)]) for before, arm in pairs], ALPHA)
    return tuple(Contrast(arm, before, test) for (before, arm), test in zip(pairs, tests, strict=True))


def contrasts(comparison: Comparison) -> tuple[Contrast, ...]:
    """Return the pairs with the baseline, in the order of the other arms."""
    return tuple(one for one in all_pairs(comparison) if one.reference is comparison.arms[0])


def tests_counted(comparison: Comparison) -> int:
    """Count the pairs that can be tested, for which p values and intervals are corrected."""
    return number_tested([one.paired for one in all_pairs(comparison)])


def level(comparison: Comparison) -> float:
    """Return the level below which an uncorrected p value counts as a difference."""
    return ALPHA / max(1, tests_counted(comparison))


def correction(comparison: Comparison) -> str:
    """Return the name of the correction; empty for a single test, which needs none."""
    return "Bonferroni" if tests_counted(comparison) > 1 else ""


def same_as(comparison: Comparison, arm: Arm) -> list[Arm]:
    """Return the other arms that do not differ significantly from this one, in the order of the comparison."""
    pairs = [one for one in all_pairs(comparison) if arm in (one.arm, one.reference) and not one.is_significant]
    return [one.reference if one.arm is arm else one.arm for one in pairs]


def unbeaten(comparison: Comparison) -> frozenset[int]:
    """Return the indices of the arm with the best mean and of those that do not differ significantly from it.

    Arms of one seed and arms that diverged are not included. Empty if nothing can be tested.
    """
    if tests_counted(comparison) == 0:
        return frozenset()
    sound = [arm for arm in comparison.ranked if len(arm.runs) > 1 and math.isfinite(arm.mean(comparison.metric))]
    kept = [sound[0], *same_as(comparison, sound[0])]
    return frozenset(place for place, arm in enumerate(comparison.arms) if arm in kept and arm in sound)


def number_format(pairs: Sequence[Contrast]) -> str:
    """Return the format of scores, with as many decimals as the uncertainty of their differences needs."""
    differences = [one.paired.difference for one in pairs]
    scales = [(d.high - d.low) / 2 if math.isfinite(d.high - d.low) else abs(d.mean) for d in differences]
    return f"{{:.{decimals(min((scale for scale in scales if scale > 0), default=1.0))}f}}"
