import numpy as np
import pytest

from lmlab.data.synthetic import SelectiveCopying
from lmlab.errors import UserError


def solver(vocabulary: int):
    def answer(prefix: list[int]) -> int:
        """The n-th symbol that is no blank, after n blanks behind the copy sign."""
        sign = prefix.index(vocabulary - 1)
        symbols = [symbol for symbol in prefix[:sign] if symbol != vocabulary - 2]
        return symbols[len(prefix) - sign - 2]

    return answer


@pytest.mark.parametrize(("vocabulary", "copied", "length"), [(16, 16, 256), (16, 16, 33), (128, 96, 512), (4, 1, 5)])
def test_answers_follow_from_the_beginning(solved, vocabulary, copied, length):
    assert solved(SelectiveCopying(vocabulary, copied), solver(vocabulary), length) == 30 * copied


def test_all_places_are_equally_likely():
    inputs, targets = SelectiveCopying(copied=4).generate(np.random.default_rng(0), 20_000, 17)
    assert (inputs[:, :12] != 14).mean(axis=0) == pytest.approx(np.full(12, 1 / 3), abs=0.015)
    assert ((inputs[:, :12] != 14).sum(axis=1) == 4).all()
    assert (inputs[:, 12] == 15).all() and (inputs[:, 13:] == 14).all()
    assert (targets[:, 13:] >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vocabulary": 3}, r"data\.vocabulary=3: expected at least 4"), ({"copied": 0}, r"data\.copied=0")],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        SelectiveCopying(**options)
