"""Number of seeds needed to detect a difference, and the least difference that a number of seeds detects.

A difference counts as detected when a two-sided paired t test is significant and has its sign right. With effect d =
difference / sd, the statistic of n seeds follows the noncentral t distribution with n - 1 degrees of freedom and
noncentrality d * sqrt(n) (Cohen 1988, chapter 2), which scipy inverts. (statsmodels' ``TTestPower`` says the same,
except where it gives nan: effects of several standard deviations with few seeds, the usual case here.)
"""

import math

from lmlab.analysis.statistics.intervals import library
from lmlab.errors import UserError

_MOST = 2**20


def seeds_needed(sd: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the least number of seeds, at least two, that detects a true difference.

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
