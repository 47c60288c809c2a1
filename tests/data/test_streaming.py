"""Text that is trained on while it is tokenised: the same batches, whatever is there; errors; what an end leaves."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from lmlab.data import preparation, streamed_order, streaming
from lmlab.data.corpora import Corpus
from lmlab.data.dataset import Opening, Prepared
from lmlab.data.mixture import Mixture
from lmlab.data.preparation import prepare
from lmlab.data.shards import frequencies
from lmlab.data.tokenizers import Byte, Word
from lmlab.errors import Interrupted, UserError
from lmlab.processes import signals

BATCH, CONTEXT, SHARD = 4, 8, 100
DOCUMENTS = [f"document {number} of many\n" for number in range(100)]


class Gated(Corpus):
    """Documents, of which a preparation in the background gets those after the 30th when its gate is open.

    Attributes:
        gate: open it to let the preparation go on.
        error: raised instead of yielding these documents.
        read: documents of training that a preparation in the background got.
    """

    name = "gated"
    licence = "none"
    splits = ("train", "validation")

    def __init__(self, stream: bool = True) -> None:
        super().__init__(stream)
        self.gate = threading.Event()
        self.error: Exception | None = None
        self.read = 0

    def find(self, corpora, cache, progress=False):
        pass

    def documents(self, split) -> Iterator[str]:
        if split == "validation":
            yield "held out\n"
            return
        for number, document in enumerate(DOCUMENTS):
            if threading.current_thread().name == "prepare":
                if number == 30:
                    assert self.gate.wait(60)
                    if self.error is not None:
                        raise self.error
                self.read += 1
            yield document


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(streamed_order, "SHARD", SHARD)
    monkeypatch.setattr(preparation, "_INTERVAL", -1.0)  # every piece is recorded
    monkeypatch.setattr(streaming, "_POLL", 0.001)


@pytest.fixture
def opening(tmp_path) -> Opening:
    return Opening(Byte(), 3, BATCH, CONTEXT, False, None, tmp_path / "cache")


@pytest.fixture
def opened(opening):
    """Open corpora, whose preparation is stopped at the end."""
    tasks = []

    def opens(corpus: Corpus, settings: Opening = opening):
        tasks.append((corpus, corpus.open(settings)))
        return tasks[-1][1]

    yield opens
    for corpus, task in tasks:
        getattr(corpus, "gate", threading.Event()).set()
        task.close()


def batches(task, steps=range(120)) -> np.ndarray:
    """Tokens of 120 steps, which are more than an epoch."""
    return np.concatenate([task.training_batch(step, 0, 1, 0, 1).tokens.numpy() for step in steps])


def whole(cache):
    return prepare(Gated(stream=False), Byte(), cache, progress=False)


@pytest.fixture
def expected(opened, opening, tmp_path):
    """The batches of text that was prepared before."""
    settings = replace(opening, cache=tmp_path / "before")
    whole(tmp_path / "before")
    return batches(opened(Gated(), settings))


def test_opens_with_the_held_out_splits_and_the_first_shard(opened, tmp_path):
    corpus = Gated()
    task = opened(corpus)
    assert task.corpus.tokens("validation").tolist() == [*b"\nheld out\n"]
    assert task.sequences("validation") == 2
    ids, complete = task.corpus.on_disk()
    assert not complete and SHARD + CONTEXT <= len(ids) < SHARD + 2 * CONTEXT + 30
    assert "train" not in task.describe()["splits"] and task.describe()["fingerprint"] == task.fingerprint
    assert not [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    assert corpus.read == 0


def test_batches_are_those_of_text_that_was_prepared_before(opened, expected):
    corpus = Gated()
    task = opened(corpus)
    waits = []
    task.on_wait(lambda: (waits.append(corpus.read), corpus.gate.set()))
    np.testing.assert_array_equal(batches(task), expected)
    assert waits and waits[0] <= 30, "the first shards were trained on before"


def test_a_shard_that_is_there_is_not_waited_for(opened, expected):
    task = opened(Gated())  # its gate stays closed
    np.testing.assert_array_equal(batches(task, range(3)), expected[: 3 * BATCH])


def test_a_run_that_ends_stops_the_preparation_and_the_next_one_continues(opened, opening, expected, tmp_path):
    first = Gated()
    task = opened(first)
    batches(task, range(3))
    first.gate.set()
    task.close()
    assert not task.corpus._thread.is_alive()
    second = Gated()
    second.gate.set()
    again = opened(second)
    np.testing.assert_array_equal(batches(again), expected)
    assert again.fingerprint == task.fingerprint


def test_the_completed_folder_is_that_of_a_preparation_at_once(opened, opening, tmp_path):
    corpus = Gated()
    corpus.gate.set()
    task = opened(corpus)
    batches(task)
    plain = whole(tmp_path / "plain")
    completed = task.corpus.place.folder
    assert {path.name: path.read_bytes() for path in completed.iterdir()} == {
        path.name: path.read_bytes() for path in plain.folder.iterdir()
    }
    assert whole(opening.cache).folder == completed
    np.testing.assert_array_equal(task.corpus.tokens("train"), plain.tokens("train"))
    assert task.training_tokens() == plain.count("train")


def test_two_tasks_share_one_preparation(opened, expected):
    corpora = [Gated(), Gated()]
    tasks = [opened(corpus) for corpus in corpora]
    for task in tasks:
        task.on_wait(lambda: [corpus.gate.set() for corpus in corpora])
        batches(task, range(3))
    for task in tasks:
        np.testing.assert_array_equal(batches(task), expected)
    assert sorted(corpus.read for corpus in corpora) == [0, len(DOCUMENTS)]


@pytest.mark.parametrize("error", [UserError("it is damaged"), OSError(28, "No space left on device")])
def test_an_error_of_the_preparation_ends_the_run(opened, error):
    corpus = Gated()
    corpus.error = error
    task = opened(corpus)
    task.on_wait(corpus.gate.set)
    with pytest.raises(UserError, match=r"^it is damaged$|cannot prepare gated there: No space left .* continues from"):
        batches(task)
    with pytest.raises(UserError):  # also where nothing is waited for
        batches(task, [0])


def test_a_signal_ends_the_waiting(opened, monkeypatch):
    task = opened(Gated())

    def stop(when: str) -> None:
        raise Interrupted(when)

    monkeypatch.setattr(signals, "check", stop)
    with pytest.raises(Interrupted, match="while it waited for its text to be tokenised"):
        batches(task)


def test_waiting_is_announced_once(opened, monkeypatch, capsys):
    monkeypatch.setattr(streaming, "_PATIENCE", -1.0)
    corpus, calls = Gated(), []
    task = opened(corpus)
    task.on_wait(lambda: (calls.append(0), corpus.gate.set() if len(calls) == 5 else None))
    ids, _ = task.corpus.first_ids(1000)
    assert len(ids) >= 1000
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data.stream=true: waiting until 1,000 tokens are prepared")


def test_a_run_is_scored_without_its_text(opened, opening):
    task = opened(Gated())
    recorded = Prepared(task.fingerprint, (opening.cache,))

    class Gone(Gated):
        def find(self, corpora, cache, progress=False):
            raise UserError("the text is gone")

    again = opened(Gone(), replace(opening, began=True, prepared=recorded))
    assert again.fingerprint == task.fingerprint
    scored = [batch.tokens.tolist() for batch in again.batches("validation")]
    assert scored == [batch.tokens.tolist() for batch in task.batches("validation")]
    # What is on disk is searched for the answers of a test, without the rest of the text.
    searched = "".join(again.training_texts())
    assert not again.searched_whole and searched.startswith(DOCUMENTS[0])
    with pytest.raises(UserError, match="the text is gone"):
        batches(again)


def test_a_complete_corpus_in_another_cache_is_found(opened, opening, expected, tmp_path):
    fingerprint = opened(Gated()).fingerprint
    recorded = Prepared(fingerprint, (tmp_path / "empty", tmp_path / "before"))
    task = opened(Gated(), replace(opening, cache=tmp_path / "empty", began=True, prepared=recorded))
    np.testing.assert_array_equal(batches(task), expected)


def test_text_that_has_changed_since_the_run_began_is_refused(opened, opening, monkeypatch):
    task = opened(Gated())
    settings = replace(opening, began=True, prepared=Prepared(task.fingerprint, (opening.cache,)))
    monkeypatch.setitem(globals(), "DOCUMENTS", ["other\n", *DOCUMENTS])
    changed = Gated()
    changed.gate.set()
    with pytest.raises(UserError, match="data=gated: its text has changed since the run started"):
        batches(opened(changed, settings))


def test_frequencies_are_of_the_first_shard(opened, tmp_path):
    task = opened(Gated())
    windows = SHARD // CONTEXT
    tokens = whole(tmp_path / "plain").tokens("train")[1 : 1 + windows * CONTEXT]
    assert task.token_counts("train").tolist() == np.bincount(tokens, minlength=256).tolist()
    corpus = Gated()
    corpus.gate.set()
    assert task.token_counts("validation").sum() == 9
    assert frequencies(whole(tmp_path / "plain"), "train").sum() > windows * CONTEXT


def test_in_a_mixture_the_rows_of_a_part_are_its_own(opened, opening, expected):
    corpora = {"first": Gated(), "second": Gated()}
    for corpus in corpora.values():
        corpus.gate.set()
    task = Mixture({"first": 1, "second": 0}, corpora).open(opening)
    np.testing.assert_array_equal(batches(task), expected)
    task.close()
    assert not task.parts["first"].corpus._thread.is_alive()


def test_short_text_is_refused_at_once(opened, opening):
    with pytest.raises(UserError, match=r"batch\.context=5000: the training split has only 2,[0-9]+ tokens"):
        opened(Gated(), replace(opening, context=5000))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer": Word()}, r"data\.stream=true: .* class Word .*choose tokenizer=byte, pretrained or tiktoken"),
        ({"carry_state": True}, r"data\.stream=true: not with batch\.carry_state=true"),
    ],
)
def test_refusals(opening, settings, message):
    with pytest.raises(UserError, match=message):
        Gated().open(replace(opening, **settings))
