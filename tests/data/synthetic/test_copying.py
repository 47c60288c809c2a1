import numpy as np
import pytest

from lmlab.data.synthetic import Copying
from lmlab.errors import UserError


def solver(alphabet: int, delayed: bool):
    def answer(prefix: list[int]) -> int:
        """The n-th symbol of the string, or the end, after n symbols behind the copy sign (n from 0)."""
        sign = prefix.index(alphabet)
        string = [symbol for symbol in prefix[:sign] if symbol < alphabet]
        read = len(prefix) - sign - 1
        return string[read - 1] if delayed else [*string, alphabet + 1][read]

    return answer


@pytest.mark.parametrize("copied", [None, 10])
@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("length", [21, 120])
def test_answers_follow_from_the_beginning(solved, copied, delayed, length):
    count = solved(Copying(8, copied, delayed), solver(8, delayed), length)
    assert copied is None or count == 30 * (10 if delayed else 11)


def test_lengths_are_drawn_from_one_to_half_the_sequence():
    for delayed in (False, True):
        inputs, targets = Copying(delayed=delayed).generate(np.random.default_rng(0), 5000, 22)
        sizes = (inputs < 26).sum(axis=1) // (1 if delayed else 2)
        assert np.bincount(sizes)[1:] / 5000 == pytest.approx(np.full(10, 0.1), abs=0.02)
        assert ((targets >= 0).sum(axis=1) == sizes + (not delayed)).all()


def test_the_delayed_form_of_arjovsky():
    """T + 20 symbols: 10 of 8 kinds, T - 1 blanks, the delimiter, 10 blanks, at which the answers are expected."""
    wait = 30
    inputs, targets = Copying(alphabet=8, copied=10, delayed=True).generate(np.random.default_rng(0), 50, wait + 20)
    assert (inputs[:, :10] < 8).all()
    assert (inputs[:, 10 : 9 + wait] == 9).all() and (inputs[:, 9 + wait] == 8).all() and (inputs[:, -10:] == 9).all()
    assert (targets[:, :-10] == -1).all() and (targets[:, -10:] == inputs[:, :10]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"alphabet": 1}, r"data\.alphabet=1: expected at least 2"), ({"copied": 0}, r"data\.copied=0")],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        Copying(**options)
