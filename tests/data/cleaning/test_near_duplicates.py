"""MinHash and its bands against the Jaccard similarity of all pairs, computed from the sets themselves."""

import random
import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("datasketch")

from lmlab.data.cleaning.near_duplicates import HASHES, Signatures, _bands, near_duplicates

WORDS = [f"word{number}" for number in range(2000)]


def signature(signatures: Signatures, *chunks: str) -> np.ndarray:
    signatures.begin()
    for chunk in chunks:
        signatures.read(chunk)
    hashes_H = signatures.end()
    return np.zeros(HASHES, np.uint32) if hashes_H is None else hashes_H


@cache
def sequences(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[place : place + 5]) for place in range(len(words) - 4)}


def similarity(first: str, second: str) -> float:
    one, other = sequences(first), sequences(second)
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """Documents of 300 words, and copies with 1 to 40 words replaced."""
    draw = random.Random(0)
    texts = []
    for _ in range(60):
        words = draw.choices(WORDS, k=300)
        texts.append(" ".join(words))
        for changes in (1, 3, 6, 12, 40):
            copy = list(words)
            for place in draw.sample(range(300), changes):
                copy[place] = "changed"
            texts.append(" ".join(copy))
    draw.shuffle(texts)
    return texts


@pytest.fixture(scope="module")
def hashes(corpus) -> np.ndarray:
    signatures = Signatures()
    return np.stack([signature(signatures, text) for text in corpus])


def test_estimates_the_jaccard_similarity(corpus, hashes):
    draw = random.Random(1)
    pairs = [draw.sample(range(len(corpus)), 2) for _ in range(200)]
    pairs += [(i, j) for i in range(60) for j in range(i) if similarity(corpus[i], corpus[j]) > 0]
    errors = [(hashes[i] == hashes[j]).mean() - similarity(corpus[i], corpus[j]) for i, j in pairs]
    assert abs(np.mean(errors)) < 0.01
    assert np.max(np.abs(errors)) < 5 * 0.5 / HASHES**0.5


def test_removes_similar_documents_and_no_others(corpus, hashes):
    """A pair far above the threshold never stays; a document far below it to all others is never removed."""
    removed = set(near_duplicates(hashes, np.arange(len(corpus)), 0.8))
    kept = [number for number in range(len(corpus)) if number not in removed]
    assert 60 <= len(kept) < len(corpus) - 60
    assert not [(i, j) for i in kept for j in kept if i < j and similarity(corpus[i], corpus[j]) > 0.92]
    for number in removed:
        assert max(similarity(corpus[number], corpus[other]) for other in kept if other < number) > 0.65


def test_finds_what_comparing_all_estimates_finds(corpus, hashes):
    """Bands only save comparisons: at least 95 % of the pairs at the threshold, and more of those above, share one."""
    found = near_duplicates(hashes, np.arange(len(corpus)), 0.8)
    kept, removed = [], []
    for number, own_H in enumerate(hashes):
        near = any((own_H == hashes[other]).mean() >= 0.8 for other in kept)
        (removed if near else kept).append(number)
    assert set(found) <= set(removed)
    assert len(found) >= 0.95 * len(removed)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 0.95, 1.0])
def test_bands(threshold):
    bands, rows = _bands(threshold)
    assert bands >= 2 and bands * rows <= HASHES
    draw = np.random.default_rng(0)
    shared = (draw.random((20_000, bands, rows)) < threshold).all(2).any(1).mean()
    assert shared > 0.94


def test_the_order_decides_which_copy_stays():
    signatures = Signatures()
    text = " ".join(WORDS[:50])
    hashes_NH = np.stack([signature(signatures, one) for one in (text, text, " ".join(WORDS[50:100]))])
    assert near_duplicates(hashes_NH, np.array([0, 1, 2]), 0.8) == [1]
    assert near_duplicates(hashes_NH, np.array([1, 2, 0]), 0.8) == [0]
    assert near_duplicates(hashes_NH, np.array([0, 2]), 0.8) == []


def test_documents_without_words_are_not_compared():
    signatures = Signatures()
    hashes_NH = np.stack([signature(signatures, text) for text in ("...", "!?", "", "a b", "A, b!")])
    assert near_duplicates(hashes_NH, np.arange(5), 0.8) == [4]


@given(
    text=st.text(st.sampled_from("aB ,\nΣσ中ก0"), max_size=100),
    cuts=st.lists(st.integers(0, 100), max_size=6),
)
def test_chunks_do_not_matter(text, cuts):
    signatures = Signatures()
    places = sorted(min(cut, len(text)) for cut in cuts)
    chunks = [text[first:end] for first, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert np.array_equal(signature(signatures, text), signature(signatures, *chunks))
