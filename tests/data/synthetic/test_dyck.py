import numpy as np
import pytest

from lmlab.data.synthetic import Dyck
from lmlab.errors import UserError


def opened(prefix: list[int], kinds: int) -> list[int]:
    """The brackets that are open, or an error if the sequence is not properly nested."""
    stack: list[int] = []
    for symbol in prefix:
        if symbol < kinds:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - kinds
    return stack


@pytest.mark.parametrize(("kinds", "depth"), [(2, 3), (8, 10), (128, 5), (2, 1)])
def test_answers_follow_from_the_beginning(solved, kinds, depth):
    assert solved(Dyck(kinds, depth), lambda prefix: kinds + opened(prefix, kinds)[-1], 100) > 30 * 40


def test_depth_is_bounded_and_scored_is_what_closes():
    inputs, targets = Dyck(4, 3).generate(np.random.default_rng(0), 200, 60)
    depths = np.cumsum(np.where(inputs < 4, 1, -1), axis=1)
    assert depths.min() == 0 and depths.max() == 3
    closes = inputs[:, 1:] >= 4
    assert (targets[:, :-1] == np.where(closes, inputs[:, 1:], -1)).all()
    free = (depths[:, :-1] > 0) & (depths[:, :-1] < 3)
    assert closes[free].mean() == pytest.approx(0.5, abs=0.02)
    assert closes[depths[:, :-1] == 3].all() and not closes[depths[:, :-1] == 0].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kinds": 1}, r"data\.kinds=1: expected at least 2"), ({"depth": 0}, r"data\.depth=0: expected at least 1")],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        Dyck(**options)
