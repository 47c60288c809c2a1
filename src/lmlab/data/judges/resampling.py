"""Intervals of a metric over resampled examples."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


def resampled_interval(
    statistics_NS: np.ndarray, value: Callable[[np.ndarray], float], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a metric over examples (Koehn 2004, for BLEU), with a fixed seed.

    It is that of one trained model on other examples of the same kind, and says nothing about other seeds.

    Args:
        statistics_NS: numbers of each example whose sums determine the metric.
        value: the metric of their sums [S].

    Returns:
        Both bounds; nan of fewer than two examples.
    """
    number = len(statistics_NS)
    if number < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(0)
    values = np.empty(RESAMPLES)
    for place in range(RESAMPLES):
        times_N = np.bincount(random.integers(number, size=number), minlength=number)
        values[place] = value(times_N @ statistics_NS)
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def mean_of(sums: np.ndarray) -> float:
    """Return the mean from a sum of values and their number [2]."""
    return float(sums[0] / sums[1])
