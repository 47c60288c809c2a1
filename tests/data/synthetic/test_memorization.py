import numpy as np
import pytest

from lmlab.data.synthetic import Memorization
from lmlab.errors import UserError


def facts(task: Memorization, seed: int) -> dict[int, int]:
    """What a model can learn from the sequences of one generator: value by key."""
    inputs, targets = task.generate(np.random.default_rng(seed), 100, 32)
    assert (inputs[:, 1::2] == task.vocabulary - 1).all() and (targets[:, ::2] == -1).all()
    learned: dict[int, int] = {}
    for key, value in zip(inputs[:, ::2].ravel().tolist(), targets[:, 1::2].ravel().tolist(), strict=True):
        assert learned.setdefault(key, value) == value
    return learned


def test_what_training_teaches_answers_every_split(solved):
    learned = facts(Memorization(), seed=0)
    assert solved(Memorization(), lambda prefix: learned[prefix[-2]], 32) == 30 * 16
    assert facts(Memorization(), seed=1) == learned


def test_the_published_vocabulary():
    learned = facts(Memorization(), seed=0)
    assert sorted(learned) == list(range(127))
    assert len(set(learned.values())) == 127
    assert min(learned.values()) >= 127 and max(learned.values()) <= 254


def test_the_map_depends_on_its_own_seed():
    assert facts(Memorization(map_seed=1), seed=0) != facts(Memorization(), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vocabulary": 4}, r"data\.vocabulary=4: expected at least 5"), ({"map_seed": -1}, r"data\.map_seed=-1")],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        Memorization(**options)
