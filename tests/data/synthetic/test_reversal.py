import numpy as np
import pytest

from lmlab.data.synthetic import Reversal
from lmlab.errors import UserError


def solver(alphabet: int):
    def answer(prefix: list[int]) -> int:
        """After the n-th sign, the n-th symbol from the string's end."""
        return prefix[: prefix.index(alphabet)][-prefix.count(alphabet)]

    return answer


@pytest.mark.parametrize(("alphabet", "length"), [(2, 80), (2, 2), (10, 33)])
def test_answers_follow_from_the_beginning(solved, alphabet, length):
    assert solved(Reversal(alphabet), solver(alphabet), length) >= 30


def test_the_published_lengths():
    inputs, targets = Reversal().generate(np.random.default_rng(0), 8000, 80)
    sizes = (inputs < 2).sum(axis=1)
    assert np.bincount(sizes)[1:] / 8000 == pytest.approx(np.full(40, 1 / 40), abs=0.01)
    for row in range(100):
        scored = np.flatnonzero(targets[row] >= 0)
        assert scored.tolist() == list(range(sizes[row], 2 * sizes[row]))
        assert targets[row, scored].tolist() == inputs[row, : sizes[row]].tolist()[::-1]


def test_strings_of_one_symbol_are_refused():
    with pytest.raises(UserError, match=r"data\.alphabet=1"):
        Reversal(1)
