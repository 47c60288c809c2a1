"""Extracts of a text against all pairs of a beginning and an end of a word."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.extracts import Extracts
from lmlab.data.tokenizers import BPE, Byte, Character, Word

TEXT = "In 1995 (or so), Zoë's well-known dog\tlived in  U.S. towns.\nWhen was it?\n"
ALL = 10**6


def slowly(text: str) -> list[str]:
    """All extracts, the shorter ones of a beginning first."""
    found = []
    for line in text.splitlines():
        line = " ".join(line.split())
        for begin in range(len(line)):
            for end in range(begin + 1, len(line) + 1):
                if is_edge(line[begin], line[:begin][-1:]) and is_edge(line[end - 1], line[end : end + 1]):
                    found.append(line[begin:end])
    return found


def is_edge(sign: str, beyond: str) -> bool:
    """Whether a sign is the first or last of a word, or of all signs up to a space, if ``beyond`` stands next to it."""
    return sign != " " and (beyond in ("", " ") or (is_word(sign) and not is_word(beyond)))


def is_word(sign: str) -> bool:
    return re.fullmatch(r"\w", sign) is not None


def walked(extracts: Extracts, tokenizer, end: int) -> list[str]:
    """The texts of all ways through the tokens that may follow each other."""
    ways, texts = [()], []
    while ways:
        way = ways.pop()
        for token in extracts.following(way):
            if token == end:
                texts.append(tokenizer.decode(np.array(way)))
            else:
                ways.append((*way, token))
    return texts


def fitted(tokenizer):
    tokenizer.fit([TEXT * 3, "the dog was well known in 1995, in the U.S."])
    return tokenizer


@given(st.text("ab é1'(.,)\n\t", max_size=12))
def test_an_extract_is_from_the_beginning_of_a_word_to_an_end(text):
    assert Extracts(Byte(), text, 0, ALL).texts == slowly(text)


@pytest.mark.parametrize("tokenizer", [Byte(), fitted(Character()), fitted(BPE(290))], ids=["byte", "character", "bpe"])
def test_every_extract_can_be_written_and_nothing_else(tokenizer):
    extracts = Extracts(tokenizer, TEXT, -1, ALL)
    assert sorted(walked(extracts, tokenizer, -1)) == sorted(set(extracts.texts))
    assert {"1995", "Zoë's well-known dog", "lived in U.S."} <= set(extracts.texts) <= set(slowly(TEXT))
    if not isinstance(tokenizer, BPE):  # whose tokens may end inside a word
        assert extracts.texts == slowly(TEXT)


def test_words_outside_a_vocabulary_are_words_of_an_extract():
    tokenizer = fitted(Word())
    extracts = Extracts(tokenizer, "Xaver's dog", -1, ALL)
    assert sorted(walked(extracts, tokenizer, -1)) == ["<unk>", "<unk> dog", "dog"]


def test_no_extract_is_longer_than_asked_for():
    extracts = Extracts(Byte(), "ab cde f", -1, 4)
    assert extracts.texts == ["ab", "cde", "f"]
    assert sorted(walked(extracts, Byte(), -1)) == ["ab", "cde", "f"]


def test_a_text_without_words_has_the_empty_extract():
    assert Extracts(Byte(), " \n", 7, 4).following([]) == {7}
    assert Extracts(Byte(), "longer", 7, 4).following([]) == {7}


def test_a_prefix_is_before_every_extract():
    extracts = Extracts(Byte(), "a b", -1, ALL, prefix=" ")
    assert sorted(walked(extracts, Byte(), -1)) == [" a", " a b", " b"] and extracts.texts == ["a", "a b", "b"]
