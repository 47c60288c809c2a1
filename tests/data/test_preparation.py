import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from processes import wait_until

from lmlab.data import preparation as module
from lmlab.data.corpora import Corpus, Text, TinyShakespeare, WikiText2, files
from lmlab.data.preparation import prepare
from lmlab.data.sample import evenly_sampled
from lmlab.data.shards import open_whole, starts_in
from lmlab.data.tokenizers import BPE, Byte, Character, Word, cutting
from lmlab.errors import UserError

LINES = "".join(f"the {number} lazy dogs\n" for number in range(400))


class Documents(Corpus):
    """Documents given as they are."""

    name = "documents"
    licence = "none"

    def __init__(self, **documents: list[str]) -> None:
        self.of = documents
        self.splits = tuple(documents)

    def find(self, corpora, cache, progress=False):
        pass

    def documents(self, split):
        yield from self.of[split]


CORPUS = Documents(train=["naïve\n", "a b"], validation=["c"])


def made(cache: Path, corpus: Corpus = CORPUS, tokenizer=None):
    return prepare(corpus, tokenizer or Byte(), cache, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock") and path.name.startswith(".")]


def test_stream_is_a_separator_before_each_document(tmp_path):
    corpus = made(tmp_path)
    assert bytes(corpus.tokens("train").astype(np.uint8)) == "\nnaïve\n\na b".encode()
    assert bytes(corpus.tokens("validation").astype(np.uint8)) == b"\nc"


def test_starts_are_the_places_of_the_separators_before_documents(tmp_path):
    corpus = made(tmp_path)
    assert corpus.starts("train").tolist() == [0, 8]  # the line end of the first document is one byte, as the separator
    assert corpus.starts("validation").tolist() == [0]


def test_lost_starts_are_written_again(tmp_path):
    corpus = made(tmp_path)
    starts_in(corpus.folder, "train").unlink()
    assert open_whole(corpus.folder, Byte) is not None, "as earlier versions left it"
    assert open_whole(corpus.folder, Byte, starts=True) is None
    assert made(tmp_path).starts("train").tolist() == [0, 8]


def test_counts(tmp_path):
    corpus = made(tmp_path, tokenizer=Word())
    assert corpus.describe()["splits"] == {
        "train": {"tokens": 6, "bytes": 10, "documents": 2, "unknown": 0},
        "validation": {"tokens": 2, "bytes": 1, "documents": 1, "unknown": 1},
    }
    assert (corpus.count("train"), corpus.bytes("train"), corpus.splits) == (6, 10, ("train", "validation"))
    assert (corpus.name, corpus.describe()["licence"], corpus.describe()["vocabulary"]) == ("documents", "none", 5)


def test_wikitext2_scores_exactly_the_published_tokens(corpora, tmp_path):
    corpus = prepare(WikiText2(), Word(), tmp_path, corpora, progress=False)
    counts = [corpus.count(split) for split in ("train", "validation", "test")]
    assert counts == [2_088_628, 217_646, 245_569]
    assert [len(corpus.tokens(split)) - 1 for split in corpus.splits] == counts
    assert corpus.tokenizer.size == 33_278
    assert corpus.bytes("validation") == (corpora / "wikitext-2" / "valid.txt").stat().st_size


def test_tiny_shakespeare_comes_back(corpora, tmp_path):
    corpus = prepare(TinyShakespeare(), Character(), tmp_path, corpora, progress=False)
    text = "".join(corpus.tokenizer.decode(corpus.tokens(split)[1:]) for split in corpus.splits)
    assert text == (corpora / "tinyshakespeare" / "input.txt").read_text()
    with pytest.raises(UserError, match="tinyshakespeare has no such split"):
        corpus.tokens("test")


def test_large_vocabularies_take_four_bytes(tmp_path):
    for types, size in ((65_536, 2), (65_537, 4)):
        text = " ".join(map(str, range(types - 2)))
        corpus = made(tmp_path, Documents(train=[text], validation=["0"]), Word())
        assert corpus.tokenizer.size == types
        assert corpus.tokens("train").dtype == np.dtype(f"<u{size}")
        assert corpus.tokenizer.decode(corpus.tokens("train")[1:]) == text + "\n"


@pytest.mark.parametrize("tokenizer", [Byte(), Character(), Word(), BPE(300)], ids=lambda one: type(one).__name__)
def test_text_read_in_chunks_has_the_same_tokens(tmp_path, tokenizer, monkeypatch):
    (tmp_path / "a.txt").write_text("\n" + LINES + "the end")
    whole = made(tmp_path / "whole", Text(str(tmp_path / "a.txt")), tokenizer)
    monkeypatch.setattr(files, "_CHUNK", 11)
    monkeypatch.setattr(cutting, "PIECE", 5)
    chunked = made(tmp_path / "chunked", Text(str(tmp_path / "a.txt")), tokenizer)
    assert contents(chunked.folder) == contents(whole.folder)


MEASURED = """
import sys
from pathlib import Path
from lmlab.data.corpora import Text
from lmlab.data.preparation import prepare
from lmlab.data.sample import evenly_sampled
from lmlab.data.shards import find_prepared, starts_in
from lmlab.data.tokenizers import BPE, Byte, Character, Word
prepare(Text(sys.argv[1]), eval(sys.argv[2]), Path(sys.argv[3]), progress=False)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""
"""Prints the peak of the resident set. That of getrusage includes the process that started this one."""


@pytest.mark.slow  # it prepares 40 MB of text
@pytest.mark.parametrize("tokenizer", ["Byte()", "Character()", "Word(5000)", "BPE(1000)"])
@pytest.mark.parametrize("end", ["\n", " "], ids=["lines", "one line"])
def test_memory_does_not_grow_with_the_longest_document(tmp_path, tokenizer, end):
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(3000)]
    parts = [" ".join(draw.choices(words, k=12)) + end for _ in range(20_000_000 // 80)]
    peaks = []
    for name, number in (("many", 30), ("one", 1)):
        (tmp_path / name).mkdir()
        for first in range(number):
            (tmp_path / name / f"{first}.txt").write_text("".join(parts[first::number]))
        command = [sys.executable, "-c", MEASURED, str(tmp_path / name), tokenizer, str(tmp_path / f"{name} cache")]
        environment = os.environ | {"RAYON_NUM_THREADS": "2"}
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, env=environment).stdout))
    assert peaks[1] < peaks[0] + 100, "MiB"


@pytest.mark.slow  # it prepares 360 MB of text
@pytest.mark.parametrize("tokenizer", ["BPE(1000)", "Word(5000)"])
def test_a_large_file_needs_less_than_a_gigabyte(tmp_path, tokenizer):
    draw, peaks = random.Random(0), []
    for megabytes in (30, 150):
        with (tmp_path / f"{megabytes}.txt").open("w") as file:
            for _ in range(megabytes):  # nearly all words differ
                file.write(draw.randbytes(500_000).hex().replace("0", " ").replace("  ", "\n"))
        command = [sys.executable, "-c", MEASURED, str(tmp_path / f"{megabytes}.txt"), tokenizer, str(tmp_path)]
        environment = os.environ | {"RAYON_NUM_THREADS": "2"}
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, env=environment).stdout))
    assert peaks[1] < 600, "MiB; importing what trains needs 430 more"
    assert peaks[1] < peaks[0] + 150, "MiB"


class TestCache:
    def test_second_time_nothing_is_written(self, tmp_path):
        folder = made(tmp_path).folder
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert made(tmp_path).folder == folder
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        assert leftovers(tmp_path) == []

    def test_what_changes_the_ids_changes_the_place(self, tmp_path):
        text = Documents(train=[LINES], validation=[LINES])
        variants = [
            made(tmp_path, text, Word()),
            made(tmp_path, text, Word(9)),
            made(tmp_path, text, BPE(300)),
            made(tmp_path, Documents(train=[LINES], validation=[LINES, "x"]), Word()),
        ]
        assert len({corpus.folder for corpus in variants}) == 4
        assert len({corpus.fingerprint for corpus in variants}) == 4
        assert variants[0].describe()["tokenizer_fingerprint"] == variants[3].describe()["tokenizer_fingerprint"]

    def test_fitted_tokenizer_is_taken_as_it_is(self, tmp_path):
        words = Word()
        words.fit(["c b"])
        corpus = made(tmp_path, tokenizer=words)
        assert corpus.describe()["tokenizer_fingerprint"] == words.fingerprint()
        assert corpus.folder != made(tmp_path, tokenizer=Word()).folder

    def test_given_tokenizer_stays_unfitted(self, tmp_path):
        words = Word()
        assert made(tmp_path, tokenizer=words).tokenizer.fitted
        assert not words.fitted

    @pytest.mark.parametrize("damage", ["train.bin", "meta.json", "tokenizer.json"])
    def test_damaged_folder_is_made_anew(self, tmp_path, damage):
        corpus = made(tmp_path, tokenizer=Word())
        before = contents(corpus.folder)
        path = corpus.folder / damage
        path.write_bytes(path.read_bytes()[:-2] if damage == "train.bin" else b"{")
        assert made(tmp_path, tokenizer=Word()).folder == corpus.folder
        assert contents(corpus.folder) == before

    def test_failure_leaves_nothing(self, tmp_path):
        with pytest.raises(UserError, match="no more than"):
            made(tmp_path, tokenizer=BPE())
        with pytest.raises(UserError, match="validation split has no tokens"):
            made(tmp_path, Documents(train=["a"], validation=[]))
        assert leftovers(tmp_path) == []
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == []

    def test_unwritable_cache_is_an_error_of_one_line(self, tmp_path):
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(UserError, match=r"paths\.cache=.*cache: cannot prepare documents there"):
            made(tmp_path / "cache")


class Interruption:
    """Encode until ``pieces`` pieces have been encoded, then raise an error, in every tokenizer.

    Attributes:
        encoded: number of pieces that were encoded.
    """

    def __init__(self, monkeypatch, pieces: int | None, error: BaseException | None = None) -> None:
        self.encoded = 0
        for kind in (Byte, Character, Word, BPE):
            monkeypatch.setattr(kind, "encode_all", self.interrupted(kind.encode_all, pieces, error))

    def interrupted(self, encode_all, pieces, error):
        def encode(tokenizer, texts):
            for ids in encode_all(tokenizer, texts):
                if self.encoded == pieces:
                    raise error
                self.encoded += 1
                yield ids

        return encode


class TestContinuing:
    TEXT = Documents(train=[LINES, "naïve\n", "", LINES[:999], "a"], validation=["b\n", LINES], test=["c d"])

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch):
        def chunks(corpus, split):
            return (
                iter([text[first : first + 500] for first in range(0, len(text), 500)]) for text in corpus.of[split]
            )

        monkeypatch.setattr(Documents, "chunks", chunks)
        monkeypatch.setattr(cutting, "PIECE", 250)
        monkeypatch.setattr(cutting, "_BATCH", 700)
        monkeypatch.setattr(module, "_INTERVAL", -1.0)  # every piece is recorded

    def interrupted(self, cache, monkeypatch, tokenizer, at, error):
        with monkeypatch.context() as patch, pytest.raises((type(error), UserError)) as raised:
            Interruption(patch, at, error)
            made(cache, self.TEXT, tokenizer)
        assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == []
        return str(raised.value)

    @pytest.mark.parametrize("tokenizer", [Byte(), Word(), BPE(300)], ids=lambda one: type(one).__name__)
    @pytest.mark.parametrize("at", [0, 17, 30])
    def test_interrupted_preparation_continues_to_the_same_result(self, tmp_path, monkeypatch, tokenizer, at):
        with monkeypatch.context() as patch:
            every = Interruption(patch, None)
            whole = made(tmp_path / "whole", self.TEXT, tokenizer)
        self.interrupted(tmp_path / "cache", monkeypatch, tokenizer, at, KeyboardInterrupt())
        with monkeypatch.context() as patch:
            patch.setattr(type(tokenizer), "fit", None)  # it has been fitted
            rest = Interruption(patch, None)
            again = made(tmp_path / "cache", self.TEXT, tokenizer)
        assert contents(again.folder) == contents(whole.folder)
        assert rest.encoded == every.encoded - at
        assert leftovers(tmp_path / "cache") == []

    def test_full_disk_is_an_error_of_one_line_and_what_was_written_continues(self, tmp_path, monkeypatch):
        whole = made(tmp_path / "whole", self.TEXT)
        full = OSError(errno.ENOSPC, "No space left on device")
        message = self.interrupted(tmp_path / "cache", monkeypatch, Byte(), 9, full)
        assert message == (
            f"paths.cache={tmp_path / 'cache'}: cannot prepare documents there: No space left on device; make room "
            "and repeat the command, which continues from there"
        )
        assert contents(made(tmp_path / "cache", self.TEXT).folder) == contents(whole.folder)

    def test_faulty_text_leaves_nothing(self, tmp_path, monkeypatch):
        self.interrupted(tmp_path, monkeypatch, Byte(), 9, UserError("it is damaged"))
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize("name", ["train.bin", "progress.json", "tokenizer.json", "pieces", "bytes"])
    def test_what_cannot_be_continued_is_begun_again(self, tmp_path, monkeypatch, name):
        whole = made(tmp_path / "whole", self.TEXT, Word())
        self.interrupted(tmp_path / "cache", monkeypatch, Word(), 25, KeyboardInterrupt())
        (folder,) = (tmp_path / "cache").glob(".*.tmp")
        if name in ("pieces", "bytes"):  # the text is divided differently now
            progress = json.loads((folder / "progress.json").read_text())
            progress["splits"]["train"][name] += 1
            (folder / "progress.json").write_text(json.dumps(progress))
        else:
            (folder / name).write_bytes((folder / name).read_bytes()[:-20])
        assert contents(made(tmp_path / "cache", self.TEXT, Word()).folder) == contents(whole.folder)

    def test_bytes_after_the_last_record_are_written_again(self, tmp_path, monkeypatch):
        whole = made(tmp_path / "whole", self.TEXT, BPE(300))
        self.interrupted(tmp_path / "cache", monkeypatch, BPE(300), 25, KeyboardInterrupt())
        (folder,) = (tmp_path / "cache").glob(".*.tmp")
        with (folder / "train.bin").open("ab") as file:
            file.write(b"half a piece")
        assert contents(made(tmp_path / "cache", self.TEXT, BPE(300)).folder) == contents(whole.folder)


def test_prepared_tokens_need_no_writable_cache(tmp_path, monkeypatch):
    folder = made(tmp_path).folder
    monkeypatch.setattr("filelock.FileLock.acquire", None)
    assert made(tmp_path).folder == folder


def test_tokenizer_is_fitted_to_a_sample_of_a_large_text_which_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(cutting, "PIECE", 250)
    monkeypatch.setattr(module, "evenly_sampled", partial(evenly_sampled, most=3000))
    corpus = Documents(train=[LINES], validation=["c"])
    prepared = made(tmp_path, corpus, BPE(300))
    assert [note[:33] for note in prepared.notes] == ["tokenizer: fitted to an even samp"]
    fitted_to = prepared.describe()["fitted_to"]
    assert fitted_to["of"] == len(LINES) and 1500 < fitted_to["bytes"] <= 3000
    monkeypatch.setattr(module, "evenly_sampled", evenly_sampled)
    assert "fitted_to" not in made(tmp_path / "all", corpus, BPE(300)).describe()
    assert "fitted_to" not in made(tmp_path, corpus, Word()).describe()


def _prepare_slowly(file: str, cache: str, log: str, seconds: float) -> None:
    """Prepare a text with a tokenizer that notes who fits it, and takes its time."""

    class Slow(Word):
        def fit(self, documents):
            with Path(log).open("a") as notes:
                notes.write(f"{os.getpid()}\n")
            time.sleep(seconds)
            super().fit(documents)

    prepare(Text(file), Slow(), Path(cache), progress=False)


def _prepare_in_small_pieces(file: str, cache: str, seconds: float) -> None:
    """Prepare a text in pieces of 250 characters, each of which is recorded and takes its time."""
    module._INTERVAL, cutting.PIECE, cutting._BATCH = -1.0, 250, 700
    encode_all = BPE.encode_all

    def slowly(tokenizer, texts):
        for ids in encode_all(tokenizer, texts):
            time.sleep(seconds)
            yield ids

    BPE.encode_all = slowly
    prepare(Text(file), BPE(300), Path(cache), progress=False)


def _pieces_on_disk(cache: Path) -> int:
    with suppress(StopIteration, OSError):
        progress = json.loads(next(cache.glob(".*.tmp/progress.json")).read_text())
        return sum(counts["pieces"] for counts in progress["splits"].values())
    return 0


@pytest.mark.slow
class TestProcesses:
    SPAWN = multiprocessing.get_context("spawn")

    def started(self, tmp_path: Path, seconds: float = 0.5):
        (tmp_path / "text").write_text(LINES)
        arguments = [str(tmp_path / name) for name in ("text", "cache", "log")]
        process = self.SPAWN.Process(target=_prepare_slowly, args=(*arguments, seconds))
        process.start()
        return process

    def test_one_prepares_and_the_others_wait(self, tmp_path):
        processes = [self.started(tmp_path) for _ in range(3)]
        for process in processes:
            process.join(240)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert len((tmp_path / "log").read_text().split()) == 1
        (folder,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
        tokens = json.loads((folder / "meta.json").read_text())["splits"]["train"]["tokens"]
        assert (folder / "train.bin").stat().st_size == 2 * (tokens + 1)
        assert leftovers(tmp_path / "cache") == []

    def test_preparation_that_is_killed_again_and_again_continues_to_the_same_result(self, tmp_path):
        (tmp_path / "text").write_text(LINES)

        def started(cache: Path, seconds: float = 0.0):
            arguments = (str(tmp_path / "text"), str(cache), seconds)
            process = self.SPAWN.Process(target=_prepare_in_small_pieces, args=arguments)
            process.start()
            return process

        whole = started(tmp_path / "whole")
        cache = tmp_path / "cache"
        for pieces in (1, 8, 15, 25):
            process = started(cache, seconds=0.05)
            wait_until(lambda pieces=pieces: _pieces_on_disk(cache) >= pieces, "it does not continue")
            os.kill(process.pid, signal.SIGKILL)
            process.join(240)
            assert not [path for path in cache.iterdir() if path.name.startswith("text-")]
        last = started(cache)
        for process in (whole, last):
            process.join(240)
            assert process.exitcode == 0
        (folder,), (expected,) = (list(place.glob("text-*")) for place in (cache, tmp_path / "whole"))
        assert contents(folder) == contents(expected)
        assert leftovers(cache) == []

    def test_killed_preparation_is_begun_again(self, tmp_path):
        first = self.started(tmp_path, seconds=600)  # it will be killed
        wait_until((tmp_path / "log").exists, "it never begins")
        os.kill(first.pid, signal.SIGKILL)
        first.join(240)
        assert len(leftovers(tmp_path / "cache")) == 1
        assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith("text-")]
        second = self.started(tmp_path)
        second.join(240)
        assert second.exitcode == 0
        assert leftovers(tmp_path / "cache") == []
        (folder,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
        fresh = tmp_path / "fresh"
        shutil.copytree(folder, fresh)
        shutil.rmtree(folder)
        third = self.started(tmp_path)
        third.join(240)
        assert contents(fresh) == contents(folder)
