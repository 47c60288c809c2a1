import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.cleaning.unicode import is_boundary, normalised

MARKS = "aeou \n\u0301\u0308\u0327\u0323\u1100\u1161\u11a8\u0915\u093c\u0344\u09c7\u09be가ÅΩＡ①ﬁ中か\u3099ｶﾞ\u0f73\u0f71"
"""Letters, marks that combine and are reordered, Hangul letters, and characters with other forms."""

texts = st.text(st.one_of(st.sampled_from(MARKS), st.characters(codec="utf-8")), max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=8)


def divided(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts})
    return [text[first:end] for first, end in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@given(text=texts, cuts=cuts)
def test_chunks_give_the_normal_form_of_the_whole(form, text, cuts):
    assert "".join(normalised(divided(text, cuts), form)) == unicodedata.normalize(form, text)


@given(text=texts, cuts=cuts)
def test_is_idempotent(text, cuts):
    once = "".join(normalised(divided(text, cuts), "NFC"))
    assert "".join(normalised(divided(once, cuts), "NFC")) == once


def test_no_boundary_combines_with_the_character_before():
    """Compared with all compositions of the database: no boundary is the second of a pair, or begins with a mark."""
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    decompositions = (unicodedata.decomposition(character).split() for character in characters)
    seconds = {chr(int(parts[1], 16)) for parts in decompositions if len(parts) == 2 and not parts[0].startswith("<")}
    seconds |= {chr(point) for point in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # of Hangul, by an algorithm
    beginnings = {unicodedata.normalize("NFKD", character)[0] for character in characters if is_boundary(character)}
    assert len(beginnings) > 10_000
    assert not beginnings & seconds
    assert not [character for character in beginnings if unicodedata.combining(character)]


def test_a_long_document_is_not_held_in_memory():
    read = 0

    def chunks():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield "ein Wo\u0308rterbuch, "

    for _ in zip(normalised(chunks(), "NFC"), range(10), strict=False):
        assert read <= 12
