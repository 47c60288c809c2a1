"""Templates: prompts and answers from fields, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.examples import Example, Template
from lmlab.errors import UserError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(TEXTS, TEXTS, st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
def test_fields_are_put_where_their_names_are_and_nowhere_else(question, title, answers, continues):
    template = Template("Answer {{briefly}}: {title}", "{question}", "{answers}", continues)
    example = template({"question": question, "title": title, "answers": answers, "other": "{question}"})
    prompt = f"Answer {{briefly}}: {title}\n{question}"
    assert example.prompt == (prompt.rstrip() if continues else f"{prompt}\n")
    assert list(example.references) == list(dict.fromkeys(" ".join(answer.split()) for answer in answers))
    assert example.answer == (f" {example.references[0]}" if continues else example.references[0])


def test_several_lists_go_together_and_single_texts_with_all():
    template = Template("", "{question}", "{letter}. {choice} ({unit})")
    fields = {"question": "?", "letter": ["B", "A"], "choice": ["two", "one"], "unit": "m"}
    assert template(fields) == Example("?\n", ("B. two (m)", "A. one (m)"))


def test_an_empty_part_leaves_no_line():
    assert Template("Go.", "", "{a}")({"a": "x"}).prompt == "Go.\n"
    assert Template("", "{a}", "{a}")({"a": "x\ny"}) == Example("x\ny\n", ("x y",))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"input": "{a}", "anser": "{b}"}, r"data\.template\.anser: no such part \(did you mean 'answer'\?\)"),
        ({"answer": "{b}"}, "instruction and input are both empty"),
        ({"input": "{a}", "answer": "b"}, r"data\.template\.answer=b: names no field"),
        ({"input": "{a", "answer": "{b}"}, r"data\.template\.input=\{a: .*write \{\{ for a brace"),
        ({"input": "{a.b}", "answer": "{b}"}, "expected the name of a field in braces"),
        ({"input": "{a!r}", "answer": "{b}"}, "expected the name of a field in braces"),
        ({"input": "{}", "answer": "{b}"}, "expected the name of a field in braces"),
        ({"input": 3, "answer": "{b}"}, r"data\.template\.input=3: expected a text"),
        ({"input": "{a}", "answer": "{b}", "continues": "yes"}, "expected true or false"),
        ({"input": "{a}", "answer": "{b}", "truncation_side": 3}, r"data\.template\.truncation_side=3: expected"),
        (
            {"input": "{a}", "answer": "{b}", "truncation_side": "rigth"},
            r"data\.template\.truncation_side=rigth: no such side \(did you mean 'right'\?\)",
        ),
        (
            {"input": "{a}", "answer": "{b}", "truncation_side": "right", "continues": True},
            r"data\.template\.truncation_side=right: continues=true needs the end of prompts",
        ),
    ],
)
def test_what_is_no_template_is_refused(section, message):
    with pytest.raises(UserError, match=message):
        Template.of(section)


def test_fields_that_records_do_not_have_are_refused():
    template = Template.of({"input": "{question}", "answer": "{answer}"})
    with pytest.raises(UserError, match=r"data\.template\.input: records have no field question .*'questions'"):
        template.check({"questions": "?", "answer": "!"})
    with pytest.raises(UserError, match="the field question has several texts"):
        template.check({"question": ["?"], "answer": "!"})


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(1, 12))
def test_prompts_are_cut_on_either_side_and_keep_their_end(tokens, length):
    sides = {
        side: Template.of({"input": "{q}", "answer": "{a}", "truncation_side": side})
        .truncated(np.array(tokens), length)
        .tolist()
        for side in ("left", "right")
    }
    assert sides["left"] == tokens[-length:]
    assert sides["right"] == (tokens if len(tokens) <= length else [*tokens[: length - 1], tokens[-1]])


def test_the_side_is_part_of_the_options_where_it_is_not_the_usual_one():
    section = {"input": "{q}", "answer": "{a}"}
    assert "truncation_side" not in Template.of({**section, "truncation_side": "left"}).options
    assert Template.of({**section, "truncation_side": "right"}).options["truncation_side"] == "right"
