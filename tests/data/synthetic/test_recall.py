import numpy as np
import pytest

from lmlab.data.synthetic import MultiQueryRecall
from lmlab.errors import UserError


def answer(prefix: list[int]) -> int:
    """What stands behind the first occurrence of the key."""
    return prefix[prefix.index(prefix[-1]) + 1]


@pytest.mark.parametrize(("length", "pairs"), [(64, 4), (128, 8), (256, 16), (16, 4)])
@pytest.mark.parametrize("filling", ["random", "zero"])
def test_answers_follow_from_the_beginning(solved, length, pairs, filling):
    assert solved(MultiQueryRecall(pairs=pairs, filling=filling), answer, length) == 30 * pairs


def test_the_published_form():
    """Keys are 1 to 4,095 and values 4,096 to 8,191, all different; queries stand at even places behind the pairs."""
    inputs, targets = MultiQueryRecall(pairs=8, filling="zero").generate(np.random.default_rng(0), 500, 128)
    keys, values = inputs[:, 0:16:2], inputs[:, 1:16:2]
    assert 1 <= keys.min() < 10 and 4085 < keys.max() <= 4095
    assert 4096 <= values.min() < 4106 and 8181 < values.max() <= 8191
    for row in range(500):
        assert len(set(keys[row])) == len(set(values[row])) == 8
        places = np.flatnonzero(targets[row] >= 0)
        assert (places >= 16).all() and (places % 2 == 0).all()
        assert sorted(inputs[row, places]) == sorted(keys[row])
        assert np.flatnonzero(inputs[row, 16:]).tolist() == (places - 16).tolist()


def test_gaps_follow_the_power_law():
    """The slot of the first query is drawn with probability proportional to i ** (a - 1)."""
    for power in (0.01, 1.0):
        _, targets = MultiQueryRecall(pairs=1, power_a=power).generate(np.random.default_rng(0), 40_000, 22)
        slots = (np.argmax(targets >= 0, axis=1) - 2) // 2
        expected = np.arange(1, 11) ** (power - 1)
        expected /= expected.sum()
        assert np.bincount(slots, minlength=10) / 40_000 == pytest.approx(expected, abs=0.01)


def test_longer_sequences_have_as_many_pairs():
    _, targets = MultiQueryRecall().generate(np.random.default_rng(0), 20, 256)
    assert ((targets >= 0).sum(axis=1) == 4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, r"data\.pairs=0: expected at least 1"),
        ({"pairs": 16, "vocabulary": 33}, r"data\.vocabulary=33: expected at least 34"),
        ({"power_a": 0.0}, r"data\.power_a=0\.0: expected more than 0"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        MultiQueryRecall(**options)
    MultiQueryRecall(pairs=16, vocabulary=34).generate(np.random.default_rng(0), 5, 64)
