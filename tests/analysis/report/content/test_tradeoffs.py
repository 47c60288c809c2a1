import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.analysis.report.content.tradeoffs import front
from lmlab.errors import UserError

VALUE = st.one_of(st.integers(0, 4).map(float), st.just(math.nan), st.sampled_from([math.inf, -math.inf]))


def slowly(points, minimize):
    """The definition: not dominated by any other point."""

    def better(a, b, less):
        return a < b if less else a > b

    def dominates(a, b):
        no_worse = all(not better(y, x, less) for x, y, less in zip(a, b, minimize, strict=True))
        return no_worse and any(better(x, y, less) for x, y, less in zip(a, b, minimize, strict=True))

    known = [not any(map(math.isnan, point)) for point in points]
    return [
        i
        for i, point in enumerate(points)
        if known[i] and not any(known[j] and dominates(other, point) for j, other in enumerate(points))
    ]


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.tuples(st.lists(st.tuples(*[VALUE] * k), max_size=25), st.tuples(*[st.booleans()] * k))
    )
)
def test_the_front_is_the_definition(case):
    points, minimize = case
    assert front(points, minimize) == slowly(points, minimize)


def test_loss_against_size():
    loss_and_speed = [(1.5, 100.0), (1.4, 90.0), (1.4, 80.0), (1.6, 90.0), (1.4, 90.0), (math.nan, 500.0)]
    assert front(loss_and_speed, minimize=(True, False)) == [0, 1, 4]
    assert front([], minimize=(True, False)) == []
    with pytest.raises(UserError, match="2 objectives has 1 values"):
        front([(1.0,)], minimize=(True, False))
