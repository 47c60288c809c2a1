"""Every arm held against the baseline, which is the first arm of a comparison."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.report.content.wording import decimals
from lmlab.analysis.statistics.pairs import Paired, corrected, paired

ALPHA = 0.05
"""A corrected p value below this is called a difference."""


@dataclass(frozen=True)
class Contrast:
    """An arm held against the baseline.

    Attributes:
        arm, baseline: what is held against what; differences are the arm's score less the baseline's.
        paired: the test over the seeds that both have.
        p_value: corrected for all contrasts of the comparison (Holm); nan where no test is possible.
    """

    arm: Arm
    baseline: Arm
    paired: Paired
    p_value: float

    @property
    def told_apart(self) -> bool:
        """Whether the arm differs from the baseline by more than chance explains."""
        return self.p_value < ALPHA

    @property
    def is_paired(self) -> bool:
        """Whether the two arms share the seeds that they are compared over."""
        return self.paired.test == "paired t"

    @property
    def diverged(self) -> bool:
        """Whether a run ended with a score that is no number, so that there is nothing to test."""
        return not math.isfinite(self.paired.difference.mean)


@lru_cache(maxsize=1)  # several sections of one report ask, and resampling takes seconds
def contrasts(comparison: Comparison) -> tuple[Contrast, ...]:
    """Hold every arm but the first against the first, by seed, and correct the p values for how many there are."""
    if not comparison.arms:
        return ()
    baseline, *others = comparison.arms
    reference = baseline.chosen.scores(comparison.metric)
    tests = [paired(arm.chosen.scores(comparison.metric), reference) for arm in others]
    p_values = corrected([test.p_value for test in tests])
    return tuple(Contrast(arm, baseline, test, p) for arm, test, p in zip(others, tests, p_values, strict=True))


def number_format(found: Sequence[Contrast]) -> str:
    """How scores are written: with as many decimals as show how uncertain their differences are."""
    differences = [one.paired.difference for one in found]
    scales = [(d.high - d.low) / 2 if math.isfinite(d.high - d.low) else abs(d.mean) for d in differences]
    return f"{{:.{decimals(min((scale for scale in scales if scale > 0), default=1.0))}f}}"
