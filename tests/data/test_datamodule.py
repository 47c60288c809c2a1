from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.batch import Batch
from lmlab.data.datamodule import LanguageDataModule, ScoredBatches, TrainingBatches
from lmlab.data.tasks import TextTask
from lmlab.data.windows import evenly_spaced


@given(st.integers(2, 400), st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.none() | st.integers(1, 500))
def test_the_ranks_validate_every_token_once_in_as_many_batches_as_announced(length, context, size, ranks, limit):
    stream = np.arange(length)
    corpus = SimpleNamespace(tokens=lambda split: stream, tokenizer=None, fingerprint="", notes=())
    data = LanguageDataModule(TextTask(corpus, SimpleNamespace(context=context, batch_size=size), limit))
    scored, announced = [], set()
    for rank in range(ranks):
        data.trainer = SimpleNamespace(distributed_sampler_kwargs={"rank": rank, "num_replicas": ranks})
        batches = ScoredBatches(data, "validation", np.arange(data.task.sequences("validation")))
        found = list(batches)
        assert len(found) == len(batches)
        announced.add(len(batches))
        scored += [int(token) for batch in found for token in batch.targets.flatten() if token >= 0]
    assert len(announced) == 1, "no rank waits for another"
    assert sorted(scored) == list(range(1, length))[:limit]


@given(st.integers(2, 400), st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.none() | st.integers(0, 500))
def test_validations_score_a_part_and_the_last_scores_all(length, context, size, ranks, part):
    corpus = SimpleNamespace(tokens=lambda split: np.arange(length), tokenizer=None, fingerprint="", notes=())
    data = LanguageDataModule(TextTask(corpus, SimpleNamespace(context=context, batch_size=size)), part=part)

    def scored(step, state):
        found = []
        for rank in range(ranks):
            sharing = {"rank": rank, "num_replicas": ranks}
            data.trainer = SimpleNamespace(
                distributed_sampler_kwargs=sharing, global_step=step, max_steps=9, state=SimpleNamespace(fn=state)
            )
            for loader in data.val_dataloader():
                found += [int(token) for batch in loader for token in batch.targets.flatten() if token >= 0]
        return sorted(found)

    everything = list(range(1, length))
    early = scored(4, "fit")
    assert early == scored(8, "fit"), "always the same part"
    assert scored(9, "fit") == scored(4, "validate") == everything
    assert set(early) <= set(everything) and len(set(early)) == len(early) > 0
    if part is None or part >= length + context:
        assert early == everything
    else:
        assert len(early) <= max(part, context)


@given(st.integers(0, 300), st.integers(0, 300))
def test_numbers_are_evenly_spaced(part, whole):
    numbers = evenly_spaced(part, whole)
    assert len(numbers) == min(part, whole)
    gaps = np.diff(numbers)
    assert not len(gaps) or 0 < gaps.min() <= gaps.max() <= gaps.min() + 1
    if len(numbers):
        assert 0 <= numbers[0] <= whole / len(numbers) / 2 and abs(numbers[0] - (whole - 1 - numbers[-1])) <= 1


@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=3), st.booleans())
def test_what_was_rolled_back_is_left_out_of_the_order(start, jumps, newest):
    """Batches in their order, less those from where a run went back to up to where it had come."""
    jumps = sorted(jump for jump in jumps if jump[0] <= start) + [(start, 2)] * newest
    left_out = [(first, first + length) for first, length in jumps]
    if newest:
        left_out[-1] = (None, start + 2)  # where the run goes on from now
    asked = []

    def training_batch(step, *place):
        asked.append(step)
        return Batch(None, None, fresh=False)

    data = LanguageDataModule(SimpleNamespace(training_batch=training_batch), 2, left_out)
    data.trainer = SimpleNamespace(global_step=start, max_steps=start + 4, distributed_sampler_kwargs=None)
    fresh = [batch.fresh for batch in TrainingBatches(data)]
    expected = list(range(100))
    for first, length in jumps:
        del expected[first : first + length]
    assert asked == [step for step in expected[start : start + 4] for _ in range(2)]
    assert fresh == [any(first == start for first, _ in jumps)] * 2 + [False] * 6, "no state fits what comes next"
