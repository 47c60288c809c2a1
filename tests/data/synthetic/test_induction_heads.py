import numpy as np
import pytest

from lmlab.data.synthetic import InductionHeads
from lmlab.errors import UserError


def answer(prefix: list[int]) -> int:
    """What stands behind the first occurrence of the last symbol."""
    return prefix[prefix.index(prefix[-1]) + 1]


@pytest.mark.parametrize("length", [3, 4, 256])
def test_answers_follow_from_the_beginning(solved, length):
    assert solved(InductionHeads(), answer, length) == 30


def test_the_special_symbol_stands_at_the_end_and_anywhere_before():
    inputs, targets = InductionHeads(vocabulary=5).generate(np.random.default_rng(0), 5000, 12)
    assert ((inputs == 4).sum(axis=1) == 2).all()
    assert (inputs[:, -1] == 4).all()
    assert set(np.argmax(inputs == 4, axis=1)) == set(range(10))
    assert (targets[:, :-1] == -1).all()
    assert np.bincount(targets[:, -1]) / 5000 == pytest.approx(np.full(4, 0.25), abs=0.03)


def test_one_ordinary_symbol_is_too_few():
    with pytest.raises(UserError, match=r"data\.vocabulary=2: expected at least 3"):
        InductionHeads(2)
