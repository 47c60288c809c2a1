"""Text as a task whose documents are read one by one."""

from dataclasses import replace

import numpy as np
import pytest

from lmlab.data.corpora import Text
from lmlab.data.dataset import Opening, Prepared
from lmlab.data.mixture import Mixture
from lmlab.data.shards import starts_in
from lmlab.data.tokenizers import Byte
from lmlab.data.windows import READINGS, Reading

CONTEXT = 16


@pytest.fixture
def opening(tmp_path) -> Opening:
    return Opening(Byte(), 3, 4, CONTEXT, False, None, tmp_path / "cache", separate=True)


@pytest.fixture
def corpus(tmp_path) -> Text:
    """Lines of 3 to 45 bytes."""
    random = np.random.default_rng(1)
    lines = ["x" * int(random.integers(2, 45)) + str(number % 10) for number in range(300)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    return Text(str(tmp_path / "lines.txt"), documents="line")


def scored(batches) -> int:
    return sum(int((batch.targets >= 0).sum()) for batch in batches)


def test_every_token_is_trained_on_and_scored_once(corpus, opening):
    task, packed = corpus.open(opening), corpus.open(replace(opening, separate=False))
    steps = range(task.order.steps_per_epoch)
    assert scored(task.training_batch(step, 0, 1, 0, 1) for step in steps) == packed.training_tokens()
    assert task.tokens_per_step * len(steps) == pytest.approx(packed.training_tokens())
    assert scored(task.batches("validation")) == scored(packed.batches("validation"))
    reading = Reading(CONTEXT, 5, 2, 4)
    for way, batches in task.evaluation("test", READINGS, reading).items():
        assert scored(batches) == task.scored("test"), way
    assert task.fingerprint == packed.fingerprint and packed.tokens_per_step is None


def test_a_part_of_a_validation_is_that_of_packed_documents(corpus, opening):
    for tokens in (1, 37, 200):
        part = replace(opening, validation_tokens=tokens)
        assert scored(corpus.open(part).batches("validation")) == tokens


def test_validations_score_rows_of_similar_length_together(corpus, opening):
    task = corpus.open(opening)
    order = task.scoring_order("validation")
    assert sorted(order) == list(range(task.sequences("validation")))
    lengths = [int((row >= 0).sum()) for batch in task.batches("validation") for row in batch.targets]
    assert lengths == sorted(lengths)
    some = [2, 0, 5]
    assert scored(task.batches("validation", some)) == sum(lengths[list(order).index(number)] for number in some)


def test_tokens_of_an_earlier_version_are_prepared_again(corpus, opening):
    task = corpus.open(opening)
    starts_in(task.corpus.folder, "train").unlink()
    began = replace(opening, prepared=Prepared(task.fingerprint, (opening.cache,)))
    assert corpus.open(replace(began, separate=False)).fingerprint == task.fingerprint
    assert not starts_in(task.corpus.folder, "train").exists(), "packed documents need none"
    assert corpus.open(began).corpus.starts("train").tolist() == task.corpus.starts("train").tolist()


def test_rows_of_a_mixture_hold_one_document(corpus, opening, tmp_path):
    (tmp_path / "other.txt").write_text("\n".join("Y" * (n % 30 + 1) for n in range(300)))
    parts = {"x": corpus, "y": Text(str(tmp_path / "other.txt"), documents="line")}
    mixture = Mixture({"x": 1, "y": 1}, parts)
    assert mixture.has_documents
    task = mixture.open(opening)
    rows = 0
    for step in range(20):
        batch = task.training_batch(step, 0, 1, 0, 1)
        assert batch.tokens.shape == (4, CONTEXT)
        for targets in batch.targets.numpy():
            ends = np.flatnonzero(targets == ord("\n"))
            assert len(ends) <= 1, "nothing follows the separator that ends a document"
            if len(ends):
                assert (targets[ends[0] + 1 :] < 0).all()
            rows += 1
    assert rows == 80 and task.tokens_per_step is None


def test_a_single_document_is_pointed_out(opening, corpus_file):
    (note,) = (note for note in Text(str(corpus_file)).open(opening).notes if "batch.documents" in note)
    assert note == "text: its training split is one document; batch.documents=separate has little effect"
