from collections import Counter

import numpy as np
import pytest

from lmlab.data import shards as module
from lmlab.data.corpora import Text
from lmlab.data.preparation import prepare
from lmlab.data.shards import find_prepared, frequencies
from lmlab.data.tokenizers import Byte, Word


def test_prepared_tokens_are_found_by_their_fingerprint_without_the_text(tmp_path):
    (tmp_path / "a.txt").write_text("the lazy dog\n" * 400)
    (tmp_path / "b.txt").write_text("another text\n" * 400)
    corpus = prepare(Text(str(tmp_path / "a.txt")), Word(), tmp_path / "cache", progress=False)
    prepare(Text(str(tmp_path / "b.txt")), Byte(), tmp_path / "cache", progress=False)
    (tmp_path / "a.txt").unlink()
    caches = [tmp_path / "nowhere", tmp_path / "cache"]
    again = find_prepared(corpus.fingerprint, caches, Word)
    assert again.folder == corpus.folder
    assert find_prepared("0" * 64, caches, Word) is None
    (corpus.folder / "train.bin").write_bytes(b"")
    assert find_prepared(corpus.fingerprint, caches, Word) is None, "it is damaged"


@pytest.fixture
def corpus(tmp_path, corpus_file):
    return prepare(Text(str(corpus_file)), Byte(), tmp_path / "cache", progress=False)


def test_counts_are_those_of_the_tokens_that_are_trained_on(corpus, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1000)
    expected = Counter(corpus.tokens("train")[1:].tolist())
    counts = frequencies(corpus, "train")
    assert {token: count for token, count in enumerate(counts.tolist()) if count} == expected
    assert counts.sum() == corpus.count("train") and len(counts) == corpus.tokenizer.size


def test_they_are_counted_once_and_again_where_what_is_kept_is_damaged(corpus, monkeypatch):
    counts = frequencies(corpus, "validation")
    file = corpus.folder / "validation.counts.npy"
    whole = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(np, "bincount", None)
        assert np.array_equal(frequencies(corpus, "validation"), counts)
    for damaged in (whole[:100], whole[:-8], b""):
        file.write_bytes(damaged)
        assert np.array_equal(frequencies(corpus, "validation"), counts)
        assert file.read_bytes() == whole
