import numpy as np
import pytest

from lmlab.data.synthetic import InContextRecall
from lmlab.errors import UserError


def answer(prefix: list[int]) -> int:
    """What stood behind the same key; all pairs stand at even places."""
    return prefix[prefix.index(prefix[-1]) + 1]


@pytest.mark.parametrize("length", [3, 4, 64, 127, 128])
@pytest.mark.parametrize("options", [{}, {"vocabulary": 32, "noise_vocabulary": 16, "noise": 0.2}])
def test_answers_follow_from_the_beginning(solved, length, options):
    solved(InContextRecall(**options), answer, length)


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.8])
def test_every_key_that_comes_back_is_scored_and_nothing_else(noise):
    vocabulary, noisy = (32, 16) if noise else (16, 0)
    task = InContextRecall(vocabulary, noisy, noise)
    inputs, targets = task.generate(np.random.default_rng(0), 300, 128)
    for symbols, scored in zip(inputs.tolist(), targets.tolist(), strict=True):
        known: dict[int, int] = {}
        for at in range(0, 128, 2):
            key, value = symbols[at : at + 2]
            assert key >= 16 if value >= 16 else key < 8 <= value
            assert scored[at] == known.get(key, -1)
            assert scored[at + 1] == -1
            if key < 8:
                assert known.setdefault(key, value) == value
    assert (inputs[:, ::2] >= 16).mean() == pytest.approx(noise, abs=0.03)
    assert (targets[:, -2] >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 1.0}, r"data\.noise=1\.0: expected a share"),
        ({"noise": 0.2}, r"data\.noise_vocabulary=0: expected at least 1"),
        ({"vocabulary": 16, "noise_vocabulary": 13}, r"data\.vocabulary=16: expected at least 17"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        InContextRecall(**options)
