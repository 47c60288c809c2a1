from collections import Counter

import numpy as np
import pytest

from lmlab.data import frequencies as module
from lmlab.data.corpora.text import Text
from lmlab.data.frequencies import frequencies
from lmlab.data.shards import prepare
from lmlab.data.tokenizers.byte import Byte


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
