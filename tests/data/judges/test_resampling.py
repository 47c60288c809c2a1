"""Intervals over resampled examples."""

import math

import numpy as np
import pytest

from lmlab.data.judges.resampling import mean_of, resampled_interval


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    scores = np.random.default_rng(3).random(400)
    low, high = resampled_interval(np.stack([scores, np.ones(400)], 1), mean_of)
    error = 1.96 * scores.std() / math.sqrt(400)
    assert low == pytest.approx(scores.mean() - error, abs=0.2 * error)
    assert high == pytest.approx(scores.mean() + error, abs=0.2 * error)


def test_equal_examples_leave_no_doubt_and_one_example_has_no_interval():
    assert resampled_interval(np.ones((5, 2)), mean_of) == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in resampled_interval(np.ones((1, 2)), mean_of))
