"""Arithmetic: answers are right, splits disjoint, draws the same every time, and the verifier is exact."""

import pytest

from lmlab.data.examples import Arithmetic, verify
from lmlab.errors import UserError

TEMPLATE = {"input": "{question}", "answer": "{answer}"}
OPERATIONS = ["addition", "multiplication", "sorting", "spelling"]


def solved(question: str) -> str:
    """The answer to a question, from its text alone."""
    if question.startswith("sort "):
        return " ".join(sorted(question.split()[1:], key=int))
    return " ".join(question.split()[1]) if question.startswith("spell ") else str(eval(question))


def size(question: str) -> int:
    words = question.split()
    if words[0] == "sort":
        return len(words) - 1
    return len(words[1]) if words[0] == "spell" else max(len(words[0]), len(words[2]))


def test_questions_have_their_length_and_answers_are_right_and_verified():
    data = Arithmetic(TEMPLATE, OPERATIONS, digits=3, longer=5, examples=500, scored=100)
    for split in data.splits:
        drawn = list(data.records(split))
        assert len(drawn) == {"train": 500}.get(split, 100)
        sizes = {size(record["question"]) for record in drawn}
        assert sizes == ({4, 5} if split == "longer" else {1, 2, 3})
        for record in drawn:
            assert record["answer"] == solved(record["question"]) and int(record["digits"]) == size(record["question"])
            assert verify(data.template(record), f" {record['answer']} \n")
            assert not verify(data.template(record), f"{record['answer']}0")
            assert not verify(data.template(record), "")


def test_no_question_is_in_two_splits_or_twice():
    data = Arithmetic(TEMPLATE, OPERATIONS, digits=1, longer=2, examples=1_000, scored=1_000)
    drawn = {split: [record["question"] for record in data.records(split)] for split in data.splits}
    everything = [question for questions in drawn.values() for question in questions]
    assert all(drawn.values()) and len(everything) == len(set(everything))


def test_draws_depend_on_their_seed_alone():
    first, again, other = (
        list(Arithmetic(TEMPLATE, draw=draw, examples=50, scored=20).records("train")) for draw in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": "adition"}, r"data\.operations=adition: no such operation \(did you mean 'addition'\?\)"),
        ({"operations": []}, r"data\.operations=\[\]: expected at least one"),
        ({"digits": 0}, r"data\.digits=0: expected at least 1"),
        ({"longer": 3}, r"data\.longer=3: expected more than data\.digits=3"),
        ({"scored": 0}, r"data\.scored=0: expected at least 1"),
        ({"length": 0}, r"data\.length=0: expected at least 1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Arithmetic(TEMPLATE, **options)
