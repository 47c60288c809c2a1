"""A task as what a run trains on: batches as a pure function of seed and step, the same scored splits for every run."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.synthetic.generator import Generator
from lmlab.data.tasks.generated import SEQUENCES, GeneratedTask
from lmlab.data.tokenizers import Symbols
from lmlab.errors import UserError


class LastSymbol(Generator):
    """Every other position asks for the symbol that was just read."""

    name = "last_symbol"
    vocabulary = 7

    def generate(self, random, rows, length):
        tokens = random.integers(0, self.vocabulary, (rows, length))
        return tokens, np.where(np.arange(length) % 2 == 0, tokens, -1)

    def check(self, length):
        if length < 2:
            raise UserError(f"batch.context={length}: expected at least 2")


def task(seed=1, size=8, context=6, longer: int | None = 4, tokens: int | None = None) -> GeneratedTask:
    return GeneratedTask(LastSymbol(longer), Symbols(7), seed, size, context, tokens)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_a_step_has_the_same_rows_however_they_are_shared(step, world, accumulate):
    whole = task().training_batch(step, 0, 1, 0, 1)
    parts = [
        task().training_batch(step, rank, world, micro, accumulate)
        for rank in range(world)
        for micro in range(accumulate)
    ]
    assert torch.equal(torch.cat([part.tokens for part in parts]), whole.tokens)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_steps_and_seeds_draw_anew_and_the_scored_splits_do_not():
    first = task().training_batch(0, 0, 1, 0, 1).tokens
    assert not torch.equal(first, task().training_batch(1, 0, 1, 0, 1).tokens)
    assert not torch.equal(first, task(seed=2).training_batch(0, 0, 1, 0, 1).tokens)
    for split in ("validation", "longer"):
        one, other = (
            np.concatenate([b.tokens for b in task(**o).batches(split)]) for o in ({}, {"seed": 2, "size": 3})
        )
        assert np.array_equal(one, other), "whatever the seed and the batch size of the run"
        assert one.shape == (SEQUENCES, {"validation": 6, "longer": 24}[split])


@pytest.mark.parametrize(("tokens", "sequences"), [(None, SEQUENCES), (60, 10), (65, 10), (1, 1)])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_every_sequence_of_a_split_is_scored_once_in_as_many_batches_as_announced(tokens, sequences, size):
    data = task(size=size, tokens=tokens)
    batches = list(data.batches("validation"))
    assert len(batches) == -(-data.sequences("validation") // size)
    assert sum(len(batch.tokens) for batch in batches) == data.sequences("validation") == sequences


def test_an_objective_looks_at_the_answers_only():
    batch = task().training_batch(0, 0, 1, 0, 1)
    hidden = torch.randn(8, 6, 5)
    chosen, targets = batch.scored(hidden)
    assert torch.equal(chosen, hidden[batch.targets >= 0]) and (targets >= 0).all() and len(targets) == 8 * 3


def test_fingerprints_tell_tasks_and_lengths_apart_but_not_seeds():
    assert task().fingerprint == task(seed=5, size=2).fingerprint
    assert len({task().fingerprint, task(context=8).fingerprint, task(longer=None).fingerprint}) == 3


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"batch\.context=1"):
        task(context=1)
    with pytest.raises(UserError, match=r"data\.longer=1"):
        task(longer=1)
    with pytest.raises(UserError, match=r"batch\.size=8: expected a multiple of 3"):
        task().training_batch(0, 0, 3, 0, 1)
    assert task(longer=None).scored_splits == ("validation",)
