from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.text_stream import CONTEXT, StopStrings, TextStream, stop_at
from lmlab.data.tokenizers import BPE, Byte, Character, Word

TEXT = "the cat sät on a mat\nand saw two birds, über every tree\n" * 4


@pytest.mark.parametrize("kind", [Byte, Character, Word, lambda: BPE(290)])
def test_prompt_and_stream_give_the_text_of_all_tokens(kind):
    tokenizer = kind()
    tokenizer.fit([TEXT])
    ids = tokenizer.encode(TEXT)
    assert len(ids) > 2 * CONTEXT
    for cut in (0, 1, 5, len(ids) - 1):
        stream = TextStream(tokenizer, ids[:cut])
        streamed = "".join(stream.add(int(token)) for token in ids[cut:]) + stream.rest()
        assert tokenizer.decode(ids[:cut]) + streamed == tokenizer.decode(ids)
        at_once = TextStream(tokenizer, ids[:cut])
        assert at_once.add(*map(int, ids[cut:])) + at_once.rest() == streamed


def test_a_prompt_of_words_goes_on_in_its_line():
    tokenizer = Word()
    tokenizer.fit([TEXT])
    prompt = tokenizer.encode_prompt("the cat")
    assert tokenizer.separator not in prompt
    assert TextStream(tokenizer, prompt).add(int(tokenizer.encode_prompt("sät")[0])) == " sät"
    assert tokenizer.encode_prompt("the cat\n")[-1] == tokenizer.separator


@given(st.lists(st.integers(0, 255), max_size=60))
def test_any_bytes_come_out_as_they_decode_and_nothing_is_held_but_a_character(values):
    stream, written = TextStream(Byte(), Byte().encode("ä")), ""
    for number, value in enumerate(values, 1):
        written += stream.add(value)
        whole = bytes(values[:number]).decode(errors="replace")
        assert whole.startswith(written) and len(whole) - len(written) <= 1
    assert written + stream.rest() == bytes(values).decode(errors="replace")


def first_stop(text: str, strings: list[str]) -> str | None:
    """What stands before the string that is complete first, by trying every beginning of the text."""
    for end in range(1, len(text) + 1):
        if complete := [string for string in strings if text[:end].endswith(string)]:
            return text[: end - max(map(len, complete))]
    return None


SIGNS = st.text("ab\n", max_size=12)


@given(SIGNS, st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 12), max_size=4))
def test_a_text_ends_before_a_stop_string_however_it_is_cut(text, strings, cuts):
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stop, written = StopStrings(strings), ""
    for begin, end in pairwise(places):
        written += stop.add(text[begin:end])
        assert first_stop(text, strings) is None or first_stop(text, strings).startswith(written), "printed too much"
    expected = first_stop(text, strings)
    assert stop.reached == (expected is not None)
    assert written + stop.rest() == (text if expected is None else expected)


def test_only_what_may_begin_a_stop_string_is_held_back():
    stop = StopStrings(["END", "\n\n"])
    assert [stop.add(part) for part in ("aE", "N", "d\n", "b", "E", "ND", "x")] == ["a", "", "ENd", "\nb", "", "", ""]
    assert stop.reached and stop.rest() == ""


def test_a_stop_string_of_several_bytes_is_found_across_tokens():
    stream, stop = TextStream(Byte(), Byte().encode("")), StopStrings(["漢字"])
    written = "".join(stop.add(stream.add(int(token))) for token in Byte().encode("a漢漢字b"))
    assert (written, stop.reached) == ("a漢", True)


def test_a_tokenizer_ends_documents_with_a_token_that_no_text_has_or_not_at_all():
    pieces = BPE(290)
    pieces.fit([TEXT])
    assert pieces.end_of_document == pieces.separator not in pieces.encode(TEXT)
    for tokenizer in (Byte(), Character(), Word()):
        tokenizer.fit([TEXT])
        assert tokenizer.end_of_document is None and tokenizer.separator in tokenizer.encode(TEXT)


@given(SIGNS, SIGNS, st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_tokens_that_complete_a_stop_string_end_a_text(prompt, text, strings):
    tokenizer = Byte()
    completes = stop_at(strings, tokenizer, tokenizer.encode(prompt).tolist())
    tokens = tokenizer.encode(text).tolist()
    for end in range(1, len(tokens) + 1):
        assert completes(tokens[:end]) == any(string in text[:end] for string in strings)


@pytest.mark.parametrize("kind", [Byte, Character, Word, lambda: BPE(290)])
def test_a_stop_string_counts_wherever_it_is_in_a_long_text(kind):
    """Also where only the last tokens are decoded, and where a character has several bytes."""
    tokenizer = kind()
    tokenizer.fit([TEXT])
    ids = tokenizer.encode(TEXT * 3).tolist()
    completes = stop_at([" über every"], tokenizer, ids[:7])
    ends = [end for end in range(8, len(ids) + 1) if completes(ids[7:end])]
    counts = [tokenizer.decode(ids[:end]).count(" über every") for end in range(len(ids) + 1)]
    firsts = [end for end in range(8, len(ids) + 1) if counts[end] > counts[end - 1]]
    assert len(firsts) == 12 and set(firsts) <= set(ends)
    assert stop_at([], tokenizer, []) is None
