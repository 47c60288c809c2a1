"""Paired tests between arms on runs of the same seeds, corrected for the number of comparisons, and their power.

The correction is Bonferroni's (Dunn 1961, "Multiple comparisons among means"): of m comparisons each p value is
multiplied by m, and each interval has the confidence 1 - alpha / m. A corrected p value is below alpha exactly where
the interval beside it excludes zero; all intervals cover together with a probability of 1 - alpha or more, however
the comparisons depend on each other and the arms' spreads differ. Holm's step-down p values are smaller, but the
intervals that agree with them say nothing beyond "above zero" of the differences that are significant (Strassburger &
Bretz 2008; Guilbaud 2008). Tukey's and max-t intervals are narrower, but need one variance for all arms, or a
correlation estimated from three seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lmlab.analysis.statistics.intervals import Array, Estimate, library, mean_interval
from lmlab.errors import UserError

_EXACT = 2**15
"""Up to this many relabellings are enumerated; otherwise this many are drawn, always the same ones."""

Test = Literal["paired t", "Welch t (seeds not shared)", "none (too few seeds)"]
_WELCH: Test = "Welch t (seeds not shared)"

Scores = Mapping[int, float]
"""An arm's scores by seed."""


@dataclass(frozen=True)
class Paired:
    """The difference between two arms.

    Attributes:
        difference: first minus second; its interval excludes zero exactly where ``p_value`` is below alpha, and has
            no bounds without a p value. For Welch's test, ``n`` is the number of runs of the smaller arm and ``sd``
            that of the difference of two runs.
        p_value: two-sided; nan if no test is possible: one seed, a diverged run, differences without any spread.
        effect_size: Hedges' g: the difference in standard deviations (of the differences; for Welch's test, of the
            runs), corrected for the bias of small samples, from three pairs on. The interval is that of the
            population's value; Welch's test has none. Its ``sd`` is nan.
        n: number of pairs; for Welch's test, the number of runs of the smaller arm.
        test: the test behind ``p_value``.
        permutation_p_value: two-sided, over all ways to swap the labels (over 2^15 of them, if there are more); does
            not assume normality.
    """

    difference: Estimate
    p_value: float
    effect_size: Estimate
    n: int
    test: Test
    permutation_p_value: float

    def turned(self) -> "Paired":
        """Return the same comparison with the second arm first."""
        return replace(self, difference=_negative(self.difference), effect_size=_negative(self.effect_size))


def simultaneous(pairs: Sequence[tuple[Scores, Scores]], alpha: float = 0.05) -> list[Paired]:
    """Compare every first arm with its second: :func:`paired`, with p values and intervals corrected for their number.

    Comparisons without a test (one seed, no spread, a run that diverged) are not counted.

    Measured with normal noise (20,000 draws; all pairs of 3 or of 5 arms without any difference): how often at least
    one interval misses zero, where all arms vary alike / where one varies five times as much:

    ============  =============  =============  ====================
    seeds         3 arms         5 arms         5 arms, uncorrected
    ============  =============  =============  ====================
    3             5.0 / 4.5 %    4.9 / 4.7 %    37 / 33 %
    5             4.7 / 4.0 %    4.7 / 4.0 %    34 / 29 %
    ============  =============  =============  ====================

    With so few seeds, a bound that holds for any dependence between the comparisons loses almost nothing.

    Args:
        pairs: scores by seed of both arms of each comparison.
        alpha: the chance that any of the intervals misses the truth, at most.

    Raises:
        UserError: as :func:`paired` does.
    """
    tests = [paired(first, second, 1 - alpha) for first, second in pairs]
    number = number_tested(tests)
    if number < 2:
        return tests
    return [_corrected(paired(first, second, 1 - alpha / number), number) for first, second in pairs]


def number_tested(tests: Sequence[Paired]) -> int:
    """Count the comparisons that have a p value."""
    return sum(not math.isnan(test.p_value) for test in tests)


def _corrected(test: Paired, number: int) -> Paired:
    p_values = test.p_value, test.permutation_p_value
    p_value, permutation = (p if math.isnan(p) else min(1.0, number * p) for p in p_values)
    return replace(test, p_value=p_value, permutation_p_value=permutation)


def paired(first: Scores, second: Scores, confidence: float = 0.95) -> Paired:
    """Compare final scores by seed. A seed fixes the order of the data too, so the runs of one seed are a pair.

    The test is the paired t test. Its one assumption is that differences are near normal, and each is a mean over very
    many tokens. The exact sign-flip test (Fisher 1935, section 21) assumes nothing but symmetry, yet with n pairs its p
    cannot be below 2 / 2^n: 0.25 for three seeds, 0.0625 for five; below 0.05 only from six on. It stands beside the
    other, in ``permutation_p_value``.

    Where fewer than two seeds are shared, all runs are compared by Welch's test, which does not assume equal variances,
    and ``test`` says so.

    Raises:
        UserError: an arm without any score, or a confidence outside (0, 1).
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        return _unpaired([*first.values()], [*second.values()], confidence)
    n = len(shared)
    a, b = np.array([first[seed] for seed in shared]), np.array([second[seed] for seed in shared])
    with np.errstate(invalid="ignore"):  # both diverged: inf - inf
        differences = a - b
    difference = mean_interval(differences.tolist(), confidence)
    if math.isnan(difference.sd):
        return Paired(difference, math.nan, _unknown(n), n, "paired t", math.nan)
    permutation = library("scipy.stats").permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_EXACT,
        rng=np.random.default_rng(0),
    )
    p_value, effect = math.nan, _unknown(n)
    if difference.sd > _rounding(a, b):
        p_value = float(library("scipy.stats").ttest_rel(a, b).pvalue)
        effect = _effect_size(difference.mean / difference.sd, n - 1, n, confidence, n)
    else:  # only rounding differs: an interval of zero width would claim certainty
        difference = replace(difference, low=math.nan, high=math.nan)
    return Paired(difference, p_value, effect, n, "paired t", float(permutation.pvalue))


def _unpaired(first: Sequence[float], second: Sequence[float], confidence: float) -> Paired:
    one, two = mean_interval(first, confidence), mean_interval(second, confidence)
    a, b, n = np.array(first), np.array(second), min(one.n, two.n)
    mean, sd = one.mean - two.mean, math.hypot(one.sd, two.sd)
    if math.isnan(sd):
        test: Test = "none (too few seeds)" if n < 2 else _WELCH
        nothing = Estimate(mean, math.nan, math.nan, n, math.nan)
        return Paired(nothing, math.nan, _unknown(n), n, test, math.nan)
    stats = library("scipy.stats")
    permutation = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis),
        vectorized=True,
        n_resamples=_EXACT,
        rng=np.random.default_rng(0),
    )
    p_value, effect, low, high = math.nan, _unknown(n), math.nan, math.nan
    if sd > _rounding(a, b):
        welch = stats.ttest_ind(a, b, equal_var=False)
        p_value, (low, high) = float(welch.pvalue), map(float, welch.confidence_interval(confidence))
        freedom = one.n + two.n - 2
        pooled = math.sqrt(((one.n - 1) * one.sd**2 + (two.n - 1) * two.sd**2) / freedom)
        effect = _effect_size(mean / pooled, freedom, one.n * two.n / (one.n + two.n), confidence, n)
        # Its interval assumes equal variances, which the test does not: the two could contradict each other.
        effect = replace(effect, low=math.nan, high=math.nan)
    difference = Estimate(mean, low, high, n, sd)
    return Paired(difference, p_value, effect, n, _WELCH, float(permutation.pvalue))


def _effect_size(d: float, freedom: int, weight: float, confidence: float, n: int) -> Estimate:
    """Return Hedges' g from Cohen's d (Hedges 1981), with its interval (Steiger & Fouladi 1997).

    The interval inverts the noncentral t distribution. ``weight`` turns the effect into the noncentrality (n for n
    pairs).
    """
    if freedom < 2:  # the bias is unbounded
        return _unknown(n)
    special, t = library("scipy.special"), d * math.sqrt(weight)
    ratio = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    unbiased = d * math.exp(ratio) / math.sqrt(freedom / 2)
    ends = [(1 + confidence) / 2, (1 - confidence) / 2]
    low, high = (float(special.nctdtrinc(freedom, p, t)) / math.sqrt(weight) for p in ends)
    return Estimate(unbiased, low, high, n, math.nan)


def _unknown(n: int) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, n, math.nan)


def _rounding(a: Array, b: Array) -> Any:
    """Return the largest spread of differences that rounding alone can cause."""
    return 8 * np.finfo(np.float64).eps * max(np.abs(a).max(), np.abs(b).max())


def _negative(estimate: Estimate) -> Estimate:
    return replace(estimate, mean=-estimate.mean, low=-estimate.high, high=-estimate.low)


_MOST = 2**20


def seeds_needed(sd: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the least number of seeds, at least two, that detects a true difference.

    A difference counts as detected when a two-sided paired t test is significant and has its sign right. With effect d
    = difference / sd, the statistic of n seeds follows the noncentral t distribution with n - 1 degrees of freedom and
    noncentrality d * sqrt(n) (Cohen 1988, chapter 2), which scipy inverts. (statsmodels' ``TTestPower`` says the same,
    except where it gives nan: effects of several standard deviations with few seeds, the usual case here.)

    Args:
        sd: standard deviation of the differences between paired runs.
        difference: the difference to detect, in the unit of ``sd``; its sign does not matter.
        power: probability of detecting it.
        alpha: probability of detecting one where there is none.

    Raises:
        UserError: ``sd`` negative or not finite, no difference, ``alpha`` or ``power`` out of range, or more than a
            million seeds.
    """
    if not math.isfinite(difference) or difference == 0:
        raise UserError(f"difference={difference}: must be a number other than zero; no number of seeds resolves zero")
    high = 2
    while resolvable(sd, high, power, alpha) > abs(difference):
        high *= 2
        if high > _MOST:
            raise UserError(f"difference={difference}: too small for a million seeds when sd={sd}")
    low = high // 2  # too few, or one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if resolvable(sd, middle, power, alpha) > abs(difference) else (low, middle)
    return high


def resolvable(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the least true difference that ``n`` seeds detect, in the unit of ``sd``; infinite for one seed.

    The arguments are those of ``seeds_needed``. Three seeds resolve 3.3 standard deviations, five 1.7, ten 1.0.

    Raises:
        UserError: ``sd`` negative or not finite, ``n`` below one, ``alpha`` or ``power`` out of range.
    """
    if not (math.isfinite(sd) and sd >= 0):
        raise UserError(f"sd={sd}: must be a number of zero or more; it takes two seeds to have one")
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha}: must lie between 0 and 1, 0.05 say")
    if not alpha < power < 1:
        raise UserError(f"power={power}: must lie between alpha={alpha} and 1, 0.8 say")
    if n < 1:
        raise UserError(f"n={n}: must be at least one seed")
    if n == 1:
        return math.inf
    special = library("scipy.special")
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    return sd * float(special.nctdtrinc(n - 1, 1 - power, critical)) / math.sqrt(n)
