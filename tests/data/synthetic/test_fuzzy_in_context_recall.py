import numpy as np
import pytest

from lmlab.data.synthetic import FuzzyInContextRecall
from lmlab.errors import UserError

Pair = tuple[tuple[int, ...], list[int]]


def pairs(symbols: list[int], half: int) -> list[Pair]:
    """Cut into keys, which are below ``half``, and what follows them."""
    found: list[Pair] = []
    for at, symbol in enumerate(symbols):
        if symbol >= half:
            found[-1][1].append(symbol)
        elif at and symbols[at - 1] < half:
            found[-1] = ((*found[-1][0], symbol), [])
        else:
            found.append(((symbol,), []))
    return found


def solver(half: int):
    def answer(prefix: list[int]) -> int:
        *earlier, (key, begun) = pairs(prefix, half)
        value = next(value for other, value in earlier if other == key)
        return value[len(begun)]

    return answer


@pytest.mark.parametrize("length", [12, 13, 128, 129])
def test_answers_follow_from_the_beginning(solved, length):
    assert solved(FuzzyInContextRecall(), solver(7), length) >= 30


@pytest.mark.parametrize(("vocabulary", "key_size", "value_size"), [(5, 1, 2), (32, 4, 2), (16, 3, 3)])
def test_every_key_that_comes_back_is_scored_and_nothing_else(vocabulary, key_size, value_size):
    half = (vocabulary - 1) // 2
    task = FuzzyInContextRecall(vocabulary, key_size, value_size)
    inputs, targets = task.generate(np.random.default_rng(0), 200, 60)
    sizes = set()
    for row, scored in zip(inputs.tolist(), targets.tolist(), strict=True):
        symbols = row[: row.index(vocabulary - 1)] if vocabulary - 1 in row else row
        assert set(row[len(symbols) :]) <= {vocabulary - 1}
        assert len(row) - len(symbols) < 2 * (key_size + value_size)
        known: dict[tuple[int, ...], list[int]] = {}
        expected: list[int] = []
        for key, value in pairs(symbols, half):
            sizes.add((len(key), len(value)))
            assert len({*key}) == len(key) and len({*value}) == len(value)
            expected += [-1] * len(key) + (value if key in known else [-1] * len(value))
            assert known.setdefault(key, value) == value
        assert scored == [*expected[1:], *[-1] * (60 - len(symbols) + 1)]
        assert expected[-1] >= 0  # the last pair has an answer
    assert sizes == {(key, value) for key in range(1, key_size + 1) for value in range(1, value_size + 1)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_size": 0}, r"data\.key_size=0"),
        ({"value_size": 0}, r"data\.value_size=0"),
        ({"vocabulary": 6}, r"data\.vocabulary=6: expected at least 7"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        FuzzyInContextRecall(**options)
