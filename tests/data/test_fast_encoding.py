import random
import sys
import threading
from collections.abc import Iterator
from unicodedata import category

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmlab.data.tokenizers import BPE, bpe
from lmlab.data.tokenizers.threads import in_threads

TEXT = "The cats' 12 naïve mats aren't\n\n  here,  they're... ÄÄÄ 日本語 ünïcode\t'll \r\n" * 30


@pytest.fixture(scope="module")
def tokenizer() -> BPE:
    fitted = BPE(400)
    draw = random.Random(0)
    words = ("".join(draw.choices("etaoinshrdlué日", k=draw.randint(2, 9))) for _ in range(500))
    fitted.fit([TEXT, " ".join(words)])
    return fitted


def segments(tokenizer: BPE, text: str) -> list[int]:
    """Return the sizes in bytes of the segments of a text before long ones are divided."""
    from tokenizers import pre_tokenizers

    parts = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [len(part) for part, _ in parts]


PARTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["the", " the", "'s", "\n", "  ", "\u3000", "日本", "é", "_", "12", "\x1c", "!", "\u0300", "\x85"]),
)
REPEATED = st.builds(lambda part, times: part * times, PARTS, st.sampled_from([1, 1, 1, 2, 130, 260, 520]))
TEXTS = st.lists(REPEATED, max_size=12).map("".join)


@given(TEXTS)
@example(" " + "a" * 511)
@example(" " + "a" * 512)
@example(" \u3000" * 300)
def test_ids_are_those_of_the_library(tokenizer, text):
    (ids,) = tokenizer.encode_all([text])
    assert ids.dtype == np.int32
    assert np.array_equal(ids, tokenizer.encode(text))


@given(TEXTS)
def test_text_with_short_segments_has_no_long_one(tokenizer, text):
    if bpe.has_short_segments(text):
        assert max(segments(tokenizer, text), default=0) <= 512


def test_ordinary_text_is_encoded_by_the_faster_library_and_long_segments_are_not(tokenizer):
    assert bpe.has_short_segments(TEXT)
    for long in ("a" * 513, "é" * 257, " " * 600, "1" * 600 + " x", "\u3000" * 300):
        assert not bpe.has_short_segments(f"before {long} after")


def test_it_is_the_same_without_the_faster_library(tokenizer, monkeypatch):
    documents = [TEXT, "", "a" * 2000, TEXT[:100]]
    fast = list(tokenizer.encode_all(documents))
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert bpe.as_tiktoken(tokenizer._model, len(tokenizer._parts)) is None
    for ids, same in zip(tokenizer.encode_all(documents), fast, strict=True):
        assert np.array_equal(ids, same)


def test_merges_that_make_a_type_twice_are_left_to_the_library():
    merges = [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]
    assert bpe.as_tiktoken(BPE().model(merges), 4) is None
    assert bpe.as_tiktoken(BPE().model(merges[:3]), 3) is not None


@pytest.mark.slow  # every character of Unicode, of those without a meaning some
def test_every_character_is_segmented_alike(tokenizer):
    fast = bpe.as_tiktoken(tokenizer._model, len(tokenizer._parts))
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    meaningless = {"Cn", "Co"}  # unassigned, or for private use
    characters = [chr(point) for point in points if category(chr(point)) not in meaningless or point % 20 == 0]
    context = "a_b 1_2 ._, __ _x \n_\n _1.. _ the_the 19_9 ,_the  _ '_s"
    texts = [context.replace("_", character) for character in characters]
    for first in range(0, len(texts), 5000):
        some = texts[first : first + 5000]
        encodings = tokenizer._model.encode_batch_fast(some)
        assert [encoding.ids for encoding in encodings] == [fast.encode_ordinary(text) for text in some]


class TestThreads:
    def test_results_are_in_order(self):
        assert list(in_threads(lambda number: number**2, range(50), 4)) == [number**2 for number in range(50)]

    def test_items_are_read_in_the_calling_thread_and_not_far_ahead(self):
        read: list[threading.Thread] = []

        def items() -> Iterator[int]:
            while True:
                read.append(threading.current_thread())
                yield len(read)

        results = in_threads(lambda number: (number, threading.current_thread()), items(), 2)
        for done in range(1, 20):
            number, thread = next(results)
            assert number == done and thread is not threading.current_thread()
            assert len(read) <= done + 4
        results.close()
        assert set(read) == {threading.current_thread()}

    def test_an_error_is_raised_where_its_result_is_due(self):
        results = in_threads(lambda number: 1 // number, [2, 1, 0, 1], 2)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)
