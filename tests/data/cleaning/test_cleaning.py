"""Cleaned corpora: what is left of them, in which splits, and what is counted."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from processes import wait_until

from lmlab.config.identity import identity
from lmlab.data.cleaning import Cleaning, survey
from lmlab.data.cleaning.length import MinLength
from lmlab.data.corpora import HuggingFace, Text
from lmlab.data.corpora.splits import place_of
from lmlab.data.preparation import prepare
from lmlab.data.tokenizers import Byte
from lmlab.errors import Interrupted, UserError

TEXTS = [f"document {number} of the cafe\u0301" for number in range(300)]


def json_lines(path: Path, texts=TEXTS) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture(params=["text", "hf"])
def corpus_of(request, tmp_path, cache):
    """Return a function that cleans texts, or texts by split, as ``data=text`` and as ``data=hf``."""

    def corpus(texts, **options):
        by_split = texts if isinstance(texts, dict) else {"train": texts}
        files = {split: str(json_lines(tmp_path / f"{split}.jsonl", own)) for split, own in by_split.items()}
        clean = Cleaning(**options)
        if request.param == "hf":
            pytest.importorskip("datasets")
            one = HuggingFace(files=files, validation=None if "validation" in files else 0.1, clean=clean)
        else:
            paths = files if "validation" in files else files["train"]
            one = Text(paths, *(() if "validation" in files else (0.1, 0)), documents=None, clean=clean)
        one.find(None, cache)
        return one

    return corpus


def texts_of(corpus) -> dict[str, list[str]]:
    return {split: list(corpus.documents(split)) for split in corpus.splits}


def test_a_document_is_normalised_scrubbed_and_split_by_its_cleaned_text(corpus_of):
    splits = texts_of(
        corpus_of([f"{text} x{number}@y.org" for number, text in enumerate(TEXTS)], unicode="NFC", scrub=["email"])
    )
    expected = [f"{unicodedata.normalize('NFC', text)} <email>" for text in TEXTS]
    assert sorted(text for own in splits.values() for text in own) == sorted(expected)
    for text in expected:
        place = place_of(hashlib.sha256(text.encode()).hexdigest())
        assert text in splits["validation" if place < 0.1 else "train"]


def test_copies_that_cleaning_makes_equal_are_in_one_split(corpus_of):
    forms = [form for text in TEXTS for form in (text, unicodedata.normalize("NFC", text))]
    splits = texts_of(corpus_of(forms, unicode="NFC"))
    assert not set(splits["train"]) & set(splits["validation"])
    assert sum(map(len, splits.values())) == 600
    splits = texts_of(corpus_of(forms, unicode="NFC", exact_duplicates=True))
    assert sum(map(len, splits.values())) == len({text for own in splits.values() for text in own}) == 300


def test_the_first_of_equal_documents_stays_and_never_the_copy_in_training(corpus_of):
    corpus = corpus_of(
        {"train": ["a", "b", "a", "v", "t", "c"], "validation": ["v", "w", "v", "t"], "test": ["t", "u"]},
        exact_duplicates=True,
    )
    assert texts_of(corpus) == {"train": ["a", "b", "c"], "validation": ["v", "w"], "test": ["t", "u"]}
    assert corpus.cleaned() == {
        "options": {"exact_duplicates": True},
        "splits": {
            "train": {"documents": 6, "kept": 3, "exact_duplicates": 3},
            "validation": {"documents": 4, "kept": 2, "exact_duplicates": 2},
            "test": {"documents": 2, "kept": 2, "exact_duplicates": 0},
        },
    }


def test_a_near_copy_in_training_goes(corpus_of):
    pytest.importorskip("datasketch")
    words = [f"w{number}" for number in range(200)]
    held_out, other = " ".join(words), " ".join(reversed(words))
    copy = " ".join([*words[:-1], "changed"])
    corpus = corpus_of({"train": [copy, other], "validation": [held_out]}, near_duplicates=0.8)
    assert texts_of(corpus) == {"train": [other], "validation": [held_out]}


def test_counts_add_up_and_are_recorded(corpus_of, cache):
    texts = [*TEXTS, *TEXTS[:20], "tiny", "x" * 500, f"{TEXTS[0]} mail a@b.de or 8.8.8.8, c@d.de"]
    corpus = corpus_of(texts, min_length=10, max_length=100, exact_duplicates=True, scrub=["email", "ip"])
    prepared = prepare(corpus, Byte(), cache, progress=False).describe()
    splits = prepared["cleaning"]["splits"]
    assert prepared["cleaning"]["options"]["min_length"] == 10
    for split, counts in splits.items():
        removed = sum(counts[name] for name in ("min_length", "max_length", "exact_duplicates"))
        assert counts["documents"] == counts["kept"] + removed
        assert counts["kept"] == prepared["splits"][split]["documents"] == len(list(corpus.documents(split)))
    total = {name: sum(counts[name] for counts in splits.values()) for name in splits["train"]}
    assert total == {
        "documents": 323,
        "kept": 301,
        "min_length": 1,
        "max_length": 1,
        "exact_duplicates": 20,
        "email": 2,
        "ip": 1,
    }
    removed = "1 by min_length, 1 by max_length, 20 by exact_duplicates"
    line = f"data.clean: 301 of 323 documents stay; removed: {removed}; replaced: 2 email, 1 ip"
    assert corpus.notes[-1] == line


def test_languages(corpus_of):
    pytest.importorskip("py3langid")
    english = [f"This is a plain sentence about the weather in London, number {number}." for number in range(30)]
    german = [f"Das ist ein einfacher Satz über das Wetter in Berlin, Nummer {number}." for number in range(30)]
    splits = texts_of(corpus_of([*english, *german], languages=["de"], confidence=0.5))
    assert sorted(text for own in splits.values() for text in own) == sorted(german)


def test_is_part_of_the_fingerprint_by_what_it_changes(corpus_of):
    plain = corpus_of(TEXTS, min_length=1).fingerprint()
    assert corpus_of(TEXTS, min_length=2).fingerprint() == plain  # the same documents
    assert corpus_of(TEXTS, unicode="NFC").fingerprint() != plain
    assert corpus_of(TEXTS, min_length=len(TEXTS[-1])).fingerprint() != plain


def test_nothing_is_read_without_an_option(corpus_of, cache):
    corpus = corpus_of(TEXTS)
    assert corpus.cleaned() == {}
    assert not list(cache.glob("cleaned-*"))
    assert not [note for note in corpus.notes if "clean" in note]


def test_the_second_time_nothing_is_decided_again(corpus_of, cache, monkeypatch):
    first = texts_of(corpus_of(TEXTS, exact_duplicates=True))
    monkeypatch.setattr(survey, "_decide", None)
    assert texts_of(corpus_of(TEXTS, exact_duplicates=True)) == first


def test_interrupted_reading_continues_with_the_same_result(corpus_of, cache, monkeypatch):
    pytest.importorskip("datasketch")
    texts = [*TEXTS, *TEXTS[:50]]
    options = {"unicode": "NFC", "exact_duplicates": True, "near_duplicates": 0.9, "scrub": ["email"]}
    monkeypatch.setattr(survey, "_INTERVAL", -1.0)
    read: list[int] = []
    write = survey._Reading._write

    def interrupted(self, document, files):
        read.append(1)
        if len(read) == 120:
            files["records.bin"].write(b"torn")
            files["records.bin"].flush()
            raise Interrupted("stop")
        write(self, document, files)

    monkeypatch.setattr(survey._Reading, "_write", interrupted)
    with pytest.raises(Interrupted):
        corpus_of(texts, **options)
    corpus = corpus_of(texts, **options)
    assert len(read) == 120 + 350 - 119  # what was recorded is not read again
    resumed = texts_of(corpus), corpus.cleaned(), corpus.fingerprint()
    for folder in cache.glob("cleaned-*"):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    corpus = corpus_of(texts, **options)
    assert (texts_of(corpus), corpus.cleaned(), corpus.fingerprint()) == resumed
    assert not list(cache.glob(".cleaned-*.tmp"))


def test_few_documents_are_cut_after_cleaning(tmp_path, cache):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {number} cafe\u0301\n" for number in range(100)), encoding="utf-8")
    corpus = Text(str(path), 0.1, 0.1, clean=Cleaning(unicode="NFC"))
    corpus.find(None, cache)
    whole = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))
    splits = texts_of(corpus)
    assert splits["train"][0] + splits["validation"][0] + splits["test"][0] == whole
    assert all(own[0].endswith("\n") for own in splits.values())
    assert corpus.cleaned()["splits"] == {"all": {"documents": 1, "kept": 1}}


def test_all_steps_see_the_document_that_those_before_left():
    cleaning = Cleaning(unicode="NFKC", scrub=["phone", "email"])
    replaced = np.zeros(2, np.int64)
    assert "".join(cleaning.apply(["ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ, 555-123", "-4567"], replaced)) == "<email>, <phone>"
    assert replaced.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scrub": ["mail"]}, r"data.clean.scrub=mail: unknown \(did you mean 'email'\?\)"),
        ({"min_length": 0}, "data.clean.min_length=0: expected at least 1"),
        ({"min_length": 9, "max_length": 5}, "data.clean.min_length=9: expected at most data.clean.max_length=5"),
        ({"near_duplicates": 80}, "data.clean.near_duplicates=80: expected a similarity from 0.5 to 1"),
        ({"confidence": 0.5}, "data.clean.confidence=0.5: changes nothing without data.clean.languages"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Cleaning(**options)


def test_an_unknown_language_is_refused():
    pytest.importorskip("py3langid")
    with pytest.raises(UserError, match="data.clean.languages=english: unknown"):
        Cleaning(languages=["english"])


def test_cleaning_that_leaves_nothing_is_refused(corpus_of):
    with pytest.raises(UserError, match=r"data.clean: leaves none of the 300 documents \(removed: 300 by min_length\)"):
        corpus_of(TEXTS, min_length=1000)


def test_filters_count_characters():
    assert MinLength(4).keeps("café", 4) and not MinLength(5).keeps("café", 4)


def test_options_that_are_off_are_no_part_of_the_identity(compose):
    plain = compose("data=text", "data.paths=x.txt")
    earlier = {**plain, "data": {key: value for key, value in plain["data"].items() if key != "clean"}}
    assert identity(plain) == identity(earlier)
    assert identity(compose("data=text", "data.paths=x.txt", "data.clean.unicode=NFC")) != identity(plain)


def test_the_parts_of_a_mixture_are_cleaned_too(compose):
    words = ("data=mixture", "data.weights={stdlib: 1, text: 1}", "+data.parts.text.paths=x.txt")
    plain = compose(*words)
    config = compose(*words, "+data.parts.text.clean.unicode=NFC")
    assert config["data"]["parts"]["text"]["clean"] == plain["data"]["parts"]["text"]["clean"] | {"unicode": "NFC"}
    assert identity(config) != identity(plain)
    del plain["data"]["parts"]["text"]["clean"]
    assert identity(compose(*words)) == identity(plain)


def _prepare(path: str, cache: str, seconds: float) -> None:
    """Clean and tokenise slowly, and record each document at once."""
    survey._INTERVAL = -1.0
    write = survey._Reading._write

    def slowly(self, document, files):
        time.sleep(seconds)
        write(self, document, files)

    survey._Reading._write = slowly
    clean = Cleaning(unicode="NFC", scrub=["email"], exact_duplicates=True, near_duplicates=0.8)
    prepare(Text(path, documents=None, clean=clean), Byte(), Path(cache), progress=False)


def _recorded(cache: Path) -> int:
    return max(
        (json.loads(path.read_text())["documents"] for path in cache.glob(".cleaned-*/progress.json")), default=0
    )


@pytest.mark.slow
def test_cleaning_that_is_killed_again_and_again_continues_to_the_same_result(tmp_path):
    pytest.importorskip("datasketch")
    path = json_lines(tmp_path / "a.jsonl", [*TEXTS[:150], *TEXTS[:20], "mail a@b.de"])
    spawn = multiprocessing.get_context("spawn")

    def started(cache: Path, seconds: float):
        process = spawn.Process(target=_prepare, args=(str(path), str(cache), seconds))
        process.start()
        return process

    cache, whole = tmp_path / "cache", tmp_path / "whole"
    for documents in (1, 40, 90, 160):
        process = started(cache, 0.02)
        wait_until(lambda documents=documents: _recorded(cache) >= documents, "it does not continue")
        os.kill(process.pid, signal.SIGKILL)
        process.join(240)
    for place in (cache, whole):
        process = started(place, 0.0)
        process.join(240)
        assert process.exitcode == 0
    for pattern in ("text-*/*", "cleaned-*/documents.npy"):
        kept, expected = ({path.name: path.read_bytes() for path in place.glob(pattern)} for place in (cache, whole))
        assert kept and kept == expected
    assert not [path for path in cache.glob(".*") if path.is_dir()]
