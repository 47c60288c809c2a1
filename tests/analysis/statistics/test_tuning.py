import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.statistics.tuning import best_value, beyond, expected_best
from lmlab.errors import UserError
from lmlab.sweeps.search.varied import Interval


@given(st.lists(st.integers(0, 6), min_size=2, max_size=5))
def test_the_best_to_expect_is_the_mean_over_every_draw(scores):
    """Dodge et al. 2019: k trials drawn with replacement from those that there are, all N^k of them."""
    for minimize, best in ((True, min), (False, max)):
        curve = expected_best(scores, minimize)
        assert len(curve) == len(scores)
        for k, found in enumerate(curve, 1):
            drawn = [best(draw) for draw in itertools.product(scores, repeat=k)]
            assert found.mean == pytest.approx(np.mean(drawn), abs=1e-9)
            assert found.sd == pytest.approx(np.std(drawn), abs=1e-6)
            assert found.n == len(scores) and found.low <= found.mean + 1e-9 and found.mean <= found.high + 1e-9


def test_the_curve_of_uniform_scores_is_known():
    """The least of k uniform numbers is 1 / (k + 1) on average."""
    curve = expected_best(((np.arange(200) + 0.5) / 200).tolist())
    assert [found.mean for found in curve[:20]] == pytest.approx([1 / (k + 1) for k in range(1, 21)], abs=0.004)
    assert all(a.mean >= b.mean for a, b in itertools.pairwise(curve))


def test_the_first_point_is_the_mean_and_intervals_cover_it():
    draw = np.random.default_rng(2)
    found = [expected_best(row)[4] for row in draw.random((100, 20))]
    assert np.mean([f.low <= 1 / 6 <= f.high for f in found]) == pytest.approx(0.94, abs=0.06)
    scores = draw.random(10)
    assert expected_best(scores)[0].mean == pytest.approx(scores.mean())


def test_trials_that_diverged_count():
    assert [e.mean for e in expected_best([1.0, 2.0, math.nan, math.inf])] == pytest.approx(
        [e.mean for e in expected_best([1.0, 2.0, 2.0, 2.0])]
    )
    one = expected_best([0.7], minimize=False)[0]
    assert one.mean == 0.7 and math.isnan(one.low) and math.isnan(one.sd)
    with pytest.raises(UserError, match="at least one trial"):
        expected_best([math.nan])


def test_the_best_of_a_grid_of_learning_rates():
    grid = {1e-4: 3.0, 1e-3: 2.0, 1e-2: 2.5, 1e-1: math.nan}
    assert best_value(grid) == (1e-3, False)
    assert best_value({value: -score for value, score in grid.items()}, minimize=False) == (1e-3, False)
    assert best_value({1e-4: 3.0, 1e-3: 2.0, 1e-2: math.inf}) == (1e-3, False)


def test_the_best_at_the_edge_is_said_to_be():
    assert best_value({1e-4: 3.0, 1e-3: 2.5, 1e-2: 2.0}) == (1e-2, True)
    assert best_value({0.1: 3.0}).at_edge and best_value({0.1: 3.0, 0.2: 2.0}).at_edge
    assert best_value({0.0: 2.0, 0.1: 2.0, 0.2: 2.0}) == (0.1, False), "of ties, the inner one"
    with pytest.raises(UserError, match="at least one finite score"):
        best_value({0.1: math.nan})


@pytest.mark.parametrize("centre", [-3.0, -0.5])
def test_points_of_a_random_search(centre):
    """A parabola over the logarithm between -5 and -1: the best value is at an edge if its lowest point is beyond."""
    draw = np.random.default_rng(1)
    points = {10**x: 1 + (x - centre) ** 2 for x in draw.uniform(-5, -1, 400)}
    best = best_value(points)
    assert points[best.value] == min(points.values())
    assert best.at_edge == (centre > -1)


def test_the_edge_of_a_random_search_is_a_bin_and_not_a_single_value():
    inner, outer = 0.96, 0.5
    points = {0.01 * step: 2.0 for step in range(101)}
    assert best_value(points | {inner: 1.0}) == (inner, True)
    assert best_value(points | {outer: 1.0}) == (outer, False)


@pytest.mark.parametrize(
    ("tried", "best", "expected"),
    [
        ([1e-3, 3e-3, 1e-2], 1e-2, 3e-2),
        ([1e-3, 3e-3, 1e-2], 1e-3, 3e-4),
        ([1e-4, 3e-4, 1e-3, 3e-3], 3e-3, 1e-2),
        ([3e-3, 1e-2], 1e-2, 3e-2),
        ([1e-3, 1e-2], 1e-3, 1e-4),
        ([1, 2, 5, 10], 10, 20),
        ([2, 4, 8], 8, 16),
        ([128, 256, 512], 512, 1024),
        ([64, 128, 192], 192, 256),
        ([64, 128, 192], 64, 32),
        ([16, 32], 32, 64),
        ([1, 2, 3], 3, 4),
        ([1, 2, 3], 1, None),  # nothing whole is between 0 and 1
        ([1e-3, 3e-3, 1e-2], 3e-3, None),  # inside
        ([0, 0.1, 0.2], 0, None),  # nothing below zero
        ([0, 0.1, 0.2], 0.2, 0.3),
        ([0, 0.01, 0.1], 0.1, 1.0),
        ([0.1, 0.2, 0.3], 0.1, 0.05),
        ([0.8, 0.9], 0.9, 0.95),  # below 1
        ([-1, 0, 1], -1, -2),
        ([5], 5, None),
    ],
)
def test_the_next_value_is_as_far_away_as_those_tried(tried, best, expected):
    assert beyond(tried, best) == (None if expected is None else pytest.approx(expected))


def test_beyond_values_that_were_drawn_the_next_is_as_far_as_the_width_of_their_interval_by_their_number():
    drawn = [0.0026, 0.0092, 0.0198]
    assert beyond(drawn, 0.0198, Interval("lr", 1e-3, 3e-2, log=True, whole=False)) == 0.06  # 30^(1/3) times
    assert beyond(drawn, 0.0198, Interval("lr", 0.0, 0.03, log=False, whole=False)) == 0.03
    assert beyond(drawn, 0.0198) == 0.05  # sqrt(0.0198 / 0.0026) times


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=8, unique=True))
def test_what_lies_beyond_lies_beyond(tried):
    up, down = beyond(tried, max(tried)), beyond(tried, min(tried))
    assert up is None or up > max(tried)
    assert down is None or 0 < down < min(tried)
