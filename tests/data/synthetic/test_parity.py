import numpy as np
import pytest

from lmlab.data.synthetic import Parity


def test_running_answers_follow_from_the_beginning(solved):
    assert solved(Parity(), lambda prefix: sum(prefix) % 2, 70) == 30 * 70


def test_last_answers_follow_from_the_beginning(solved):
    def answer(prefix: list[int]) -> int:
        assert prefix[-1] == 2 and 2 not in prefix[:-1]
        return prefix.count(1) % 2

    assert solved(Parity("last"), answer, 41) == 30


def test_the_published_lengths():
    inputs, targets = Parity("last").generate(np.random.default_rng(0), 8000, 41)
    assert np.bincount((inputs < 2).sum(axis=1))[1:] / 8000 == pytest.approx(np.full(40, 1 / 40), abs=0.01)
    assert ((targets >= 0).sum(axis=1) == 1).all()
    assert targets.max(axis=1).mean() == pytest.approx(0.5, abs=0.02)


def test_the_end_sign_is_a_symbol_only_where_it_is_used():
    assert (Parity("every").vocabulary, Parity("last").vocabulary) == (2, 3)
