import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.statistics.tuning import BINS, beyond, expected_best, sensitivity
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


def test_a_grid_of_learning_rates():
    grid = [(1e-4, 3.0), (1e-3, 2.2), (1e-3, 2.0), (1e-2, 2.5), (1e-1, math.nan)]
    found = sensitivity(grid, tolerance=0.1)
    assert found.values == [1e-4, 1e-3, 1e-2, 1e-1] and found.scores == [3.0, 2.0, 2.5, math.inf]
    assert (found.best, found.score, found.at_edge, found.spread) == (1e-3, 2.0, False, 1.0)
    # 2.2 is a fifth of the way to 3.0 on the left, two fifths to 2.5 on the right
    assert found.log and found.basin == pytest.approx((10**-3.2, 10**-2.6)) and found.width == pytest.approx(0.6)
    assert not found.open
    higher = sensitivity([(value, -score) for value, score in grid], minimize=False, tolerance=0.1)
    assert (higher.best, higher.score, higher.basin) == (found.best, -2.0, found.basin)


def test_the_best_at_the_edge_is_said_to_be():
    assert sensitivity([(1e-4, 3.0), (1e-3, 2.5), (1e-2, 2.0)]).at_edge
    assert sensitivity([(0.1, 3.0)]).at_edge and sensitivity([(0.1, 3.0), (0.2, 2.0)]).at_edge
    flat = sensitivity([(0.0, 2.0), (0.1, 2.0), (0.2, 2.0)])
    assert flat.best == 0.1 and not flat.at_edge and flat.open and not flat.log and flat.width == pytest.approx(0.2)
    diverged_next = sensitivity([(1e-4, 3.0), (1e-3, 2.0), (1e-2, math.inf)], tolerance=0.1)
    assert not diverged_next.at_edge and diverged_next.basin[1] == pytest.approx(1e-3)


@pytest.mark.parametrize("centre", [-3.0, -0.5])
def test_points_of_a_random_search(centre):
    """A parabola over the logarithm between -5 and -1: within 10 % of the best for sqrt(0.1) decades on either side."""
    draw = np.random.default_rng(1)
    points = [(10**x, 1 + (x - centre) ** 2) for x in draw.uniform(-5, -1, 400)]
    found = sensitivity(points, tolerance=0.1)
    assert len(found.values) <= BINS
    assert found.score == min(score for _, score in points)
    assert found.at_edge == (centre > -1)
    if centre == -3.0:
        assert found.width == pytest.approx(2 * math.sqrt(0.1), rel=0.2)


def test_what_is_no_number_is_refused():
    for points in ([("cosine", 1.0)], [(True, 1.0)], [(math.nan, 1.0)]):
        with pytest.raises(UserError, match="needs numbers"):
            sensitivity(points)
    with pytest.raises(UserError, match="at least one finite score"):
        sensitivity([(0.1, math.nan)])
    with pytest.raises(UserError, match="tolerance=-1"):
        sensitivity([(0.1, 1.0)], tolerance=-1)


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
