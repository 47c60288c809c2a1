"""Scored examples that occur in training text."""

import pytest

from lmlab.data.overlap import WORDS, Overlap

LONG = "the quick brown fox jumps over the lazy dog and then sleeps until noon"


def counts(prompts, references, texts, **options):
    overlap = Overlap(prompts, references)
    return overlap.counts() | {"whole": overlap.read(texts, **options)} | overlap.counts()


def test_an_equal_example_counts_once_however_it_is_written():
    seen = counts(["2 + 2", "3 + 3"], [["4"], ["6"]], ["2 + 2\n4", "2+2 4"])
    assert (seen["equal"], seen["examples"]) == (1, 2)
    assert seen["long_answers"] == seen["answers"] == seen["long_prompts"] == 0


def test_a_long_answer_is_found_anywhere_in_text_and_a_short_one_is_not_sought():
    text = f"Once, {LONG.upper()}! The end."
    seen = counts(
        ["a", "b", "c"], [[LONG], ["sleeps until noon"], [f"never seen before {LONG[::-1]} {LONG[::-1]}"]], [text]
    )
    assert (seen["long_answers"], seen["answers"], seen["equal"]) == (2, 1, 0)


def test_one_of_several_right_answers_is_enough():
    assert counts(["a"], [["no", LONG]], [LONG])["answers"] == 1


@pytest.mark.parametrize(("changed", "contained"), [(1, 1), (4, 0)])
def test_seventy_percent_of_the_sequences_decide(changed, contained):
    words = [f"w{number}" for number in range(27)]  # 20 sequences; a changed last word changes 1, four apart many
    answer = [*words[: 27 - changed], *(f"x{number}" for number in range(changed))] if changed == 1 else words[:]
    if changed == 4:
        for place in (5, 11, 17, 23):
            answer[place] = "x"
    assert counts(["a"], [[" ".join(answer)]], [" ".join(words)])["answers"] == contained


def test_text_in_parts_is_read_as_a_whole():
    words = LONG.split()
    parts = [" ".join(words[:3]), " ".join(words[3:9]), "", " ".join(words[9:])]
    assert counts(["a"], [[LONG]], parts)["answers"] == 1


def test_the_words_of_a_template_are_no_overlap():
    instruction = " ".join(f"instruction{number}" for number in range(2 * WORDS))
    prompts = [f"{instruction}\nquestion {number}" for number in range(4)]
    training = [f"{instruction}\nother question {number} answer" for number in range(4)]
    assert counts(prompts, [["yes"]] * 4, training)["prompts"] == 0


def test_no_more_than_the_limit_is_read():
    texts = iter(["a" * 10, LONG, "never read"])
    seen = counts(["a"], [[LONG]], texts, most=5)
    assert not seen["whole"] and seen["answers"] == 0 and next(texts) == "never read"
    assert counts(["a"], [[LONG]], [LONG], most=5)["whole"]
