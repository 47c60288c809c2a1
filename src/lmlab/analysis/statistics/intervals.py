"""Means over seeds with confidence intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from lmlab.errors import UserError


def library(module: str) -> Any:
    """Import ``module`` of scipy. Raises ``UserError`` if the package is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"statistics need the package {package} (pip install 'lmlab[report]')") from error


Array = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 1999
"""Resamples of a bootstrap: with these, 2.5 % and 97.5 % fall on order statistics."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        mean: the estimate.
        low, high: bounds of the interval; nan if the data do not determine them.
        n: number of values.
        sd: standard deviation of the values (n - 1 in the denominator); for a fitted quantity, of its resamples; nan
            if there is only one value.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of independent runs with Student's t interval.

    This is the default for all averages over seeds. Measured coverage of nominal 95 % intervals (1,500
    draws each; normal / log-normal noise of sigma 0.5):

    ====  ============  =============
    n     Student's t   BCa bootstrap
    ====  ============  =============
    2     95 / 93 %     52 / 49 %
    3     94 / 94 %     71 / 69 %
    5     95 / 91 %     85 / 81 %
    10    94 / 92 %     90 / 88 %
    30    94 / 95 %     95 / 92 %
    ====  ============  =============

    So a bootstrap over three to five seeds is overconfident, even if the noise is skewed; ``bootstrap_interval`` exists
    to be shown beside this one. With two seeds the t interval is 18 standard deviations wide: two seeds say little. One
    seed has a mean and no interval; equal values have an interval of zero width. A value that is not finite (a diverged
    run) is not dropped: the mean is not finite either and has no bounds.

    Raises:
        UserError: no values, or a confidence outside (0, 1).
    """
    array = _checked(values, confidence)
    mean, sd = float(np.mean(array)), _sd(array)
    if math.isnan(sd):
        return Estimate(mean, math.nan, math.nan, len(array), math.nan)
    half = float(library("scipy.special").stdtrit(len(array) - 1, (1 + confidence) / 2)) * sd / math.sqrt(len(array))
    return Estimate(mean, mean - half, mean + half, len(array), sd)


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean with the BCa bootstrap interval (Efron 1987).

    It does not assume normality, but is too narrow below about twenty values; ``mean_interval`` has the measurements.
    The same values always give the same interval.

    Raises:
        UserError: no values, or a confidence outside (0, 1).
    """
    array = _checked(values, confidence)
    low, high = resampled(array, np.mean, confidence, "BCa")
    return Estimate(float(np.mean(array)), float(low), float(high), len(array), _sd(array))


def resampled(values: Array, statistic: Callable[..., Any], confidence: float, method: str) -> tuple[Any, Any]:
    """Return the bounds of scipy's bootstrap interval, with a fixed seed.

    Both are nan for fewer than two values or one that is not finite. They are the statistic itself if all values are
    equal.

    Args:
        values: [N].
        statistic: ``statistic(values, axis)`` of values [..., N]; one number for each, or [K, ...] for several
            quantities.
        method: scipy's name of the method.

    Returns:
        The low and the high bounds, of the shape of ``statistic(values, axis=-1)``.
    """
    estimate = statistic(values, axis=-1)
    if len(values) < 2 or not np.all(np.isfinite(values)):
        return np.full_like(estimate, math.nan), np.full_like(estimate, math.nan)
    if np.ptp(values) == 0:
        return estimate, estimate
    interval = library("scipy.stats").bootstrap(
        (values,),
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method=method,
        rng=np.random.default_rng(0),
    )
    return interval.confidence_interval.low, interval.confidence_interval.high


def _checked(values: Sequence[float], confidence: float) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise UserError(f"an interval needs at least one number, not an array of shape {array.shape}")
    if not 0 < confidence < 1:
        raise UserError(f"confidence={confidence}: must lie between 0 and 1, 0.95 say")
    return array


def _sd(array: Array) -> float:
    return float(np.std(array, ddof=1)) if len(array) > 1 and np.all(np.isfinite(array)) else math.nan
