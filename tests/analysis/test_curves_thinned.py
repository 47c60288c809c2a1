"""Thinning against the same, slowly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.curves import thinned


def slowly(x: list[float], y: list[float], points: int) -> list[int]:
    """The places that are kept."""
    if len(x) <= points:
        return list(range(len(x)))
    count = max(1, (points - 2) // 2)
    kept = {0, len(x) - 1}
    for stretch in np.array_split(range(1, len(x) - 1), count):
        numbers = [int(place) for place in stretch if y[place] == y[place]]
        if numbers:
            kept |= {min(numbers, key=lambda place: y[place]), max(numbers, key=lambda place: y[place])}
    return sorted(kept)


@given(
    y=st.lists(st.floats(-5, 5) | st.integers(0, 2).map(float) | st.just(float("nan")), min_size=1, max_size=80),
    points=st.integers(4, 40),
)
def test_the_ends_and_every_extreme_are_kept(y, points):
    x = np.arange(len(y), dtype=float)
    found_x, found_y = thinned(x, np.array(y), points)
    assert found_x.tolist() == slowly(x.tolist(), y, points)
    np.testing.assert_array_equal(found_y, np.array(y)[found_x.astype(int)])
    assert len(found_x) <= points


def test_a_short_curve_stays_as_it_is():
    x, y = np.arange(3.0), np.array([1.0, 5.0, 2.0])
    assert thinned(x, y, 3)[0] is x
