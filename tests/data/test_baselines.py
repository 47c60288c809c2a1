"""Trivial baselines against answers and frequencies computed one by one, and kept with the prepared data."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from lmlab.data import baselines
from lmlab.data.corpora import Text
from lmlab.data.dataset import Opening
from lmlab.data.examples import Records
from lmlab.data.judges.question_answering import exact_match, f1, metric
from lmlab.data.mixture import Mixture
from lmlab.data.tokenizers import Byte

QUESTIONS = [
    ("Rome. It is old", ["Rome", "the old Rome"]),
    ("red\nblue", ["blue"]),
    ("What? Two", ["two"]),
    ("a b c d e f g", ["g"]),
]
TRAINING = ["two", "one", "one", "two", "two three"]
LENGTH = 10
INSTRUCTION = "Answer {language}:"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def examples(tmp_path) -> Records:
    rows = [{"question": question, "answer": answer, "language": "x y"} for question, answer in QUESTIONS]
    train = [{"question": "?", "answer": answer, "language": "x"} for answer in TRAINING]
    paths = {"train": write(tmp_path / "train.jsonl", train), "validation": write(tmp_path / "dev.jsonl", rows)}
    template = {"instruction": INSTRUCTION, "input": "{question}", "answer": "{answer}"}
    return Records("own", "own", template, ["f1", "exact_match"], LENGTH, paths=paths)


def opened(dataset, tmp_path, tokens: int | None = None):
    return dataset.open(Opening(Byte(), 1, 4, 64, False, tokens, tmp_path / "cache"))


def test_answers_without_a_model_are_scored_like_those_of_models(examples, tmp_path):
    answers = {
        "most frequent answer": ["two"] * 4,  # as often as one, and before it
        "first sentence": ["Rome.", "red", "What?", "a b c d e "],  # a byte is a token
        "copy of the input": ["Rome. It i", "red blue", "What? Two", "a b c d e "],
    }
    expected = {
        name: {
            of.__name__: np.mean(
                [max(of(answer, right) for right in rights) for answer, (_, rights) in zip(own, QUESTIONS, strict=True)]
            )
            for of in (f1, exact_match)
        }
        for name, own in answers.items()
    }
    found = opened(examples, tmp_path).baselines("validation")
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert found[name] == pytest.approx(scores), name
    assert expected["first sentence"]["exact_match"] == 25 and expected["most frequent answer"]["f1"] == 25


def test_where_answers_are_words_of_the_input_some_at_random_are_a_baseline(tmp_path):
    """Of each question two of three words are right, so a third of the six extracts is."""
    rows = [
        {"question": f"{word}a {word}b {word}c", "answer": [f"{word}a", f"{word}b"]} for word in map(str, range(900))
    ]
    template = {"input": "{question}", "answer": "{answer}"}
    path = write(tmp_path / "a.jsonl", rows)
    paths = {"train": path, "validation": path}
    examples = Records("own", "own", template, ["exact_match"], 14, paths=paths, decoding={"extract": True})
    scores = opened(examples, tmp_path).baselines("validation")
    assert scores["words of the input at random"]["exact_match"] == pytest.approx(100 / 3, abs=4)
    assert scores == opened(examples, tmp_path).baselines("validation")
    examples.decoding = {}
    assert "words of the input at random" not in opened(examples, tmp_path).baselines("validation")


def test_they_are_of_the_scored_examples_and_computed_once(examples, tmp_path, monkeypatch):
    task = opened(examples, tmp_path, tokens=64)
    assert task.sequences("validation") == 1
    first = task.baselines("validation")
    assert first["most frequent answer"] == {"f1": 0, "exact_match": 0}, "the third example is not scored"
    monkeypatch.setattr(baselines, "of_answers", None)
    assert opened(examples, tmp_path, tokens=64).baselines("validation") == first
    for path in task.prepared.folder.glob("baselines-*.json"):
        path.write_text("{")
    with pytest.raises(TypeError):  # damaged: computed again
        task.baselines("validation")


def test_metrics_of_the_users_own_are_computed_anew(tmp_path, examples):
    own = metric("f1")
    examples.metrics = (own,)
    task = opened(examples, tmp_path)
    before = task.baselines("validation")["most frequent answer"]["f1"]
    own._score = lambda answer, right: 2 * f1(answer, right)
    assert task.baselines("validation")["most frequent answer"]["f1"] == 2 * before > 0


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("  One\nTwo. ", "One"),
        ("Version 1.5 is out! Yes", "Version 1.5 is out!"),
        ("no end", "no end"),
        ("", ""),
        ("Why?", "Why?"),
    ],
)
def test_a_first_sentence(text, first):
    assert baselines.first_sentence(text) == first


def test_frequencies_of_tokens_are_those_of_a_direct_count(tmp_path):
    text = "abracadabra\n" * 40 + "xyz\n" * 7
    (tmp_path / "train.txt").write_text(text)
    (tmp_path / "valid.txt").write_text("bandana\nüz\n")
    own = Text({"train": [str(tmp_path / "train.txt")], "validation": [str(tmp_path / "valid.txt")]})
    task = opened(own, tmp_path)
    train, scored = (task.corpus.tokens(split)[1:].tolist() for split in ("train", "validation"))
    counts = Counter(train)
    nats = [-math.log((counts[token] + 1) / (len(train) + 256)) for token in scored]
    found = task.baselines("validation")["token frequencies"]
    assert found["loss"] == pytest.approx(np.mean(nats))
    assert found["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / task.corpus.bytes("validation"))
    most = max(counts, key=lambda token: (counts[token], -token))
    assert found["accuracy"] == pytest.approx(scored.count(most) / len(scored))
    part = opened(own, tmp_path, tokens=4).baselines("validation")["token frequencies"]
    assert part["loss"] == pytest.approx(np.mean(nats[:4]))


def test_a_mixture_has_those_of_its_parts(examples, tmp_path):
    (tmp_path / "train.txt").write_text("abc\n" * 90)
    text = Text([str(tmp_path / "train.txt")])
    task = opened(Mixture({"own": 1, "text": 1}, {"own": examples, "text": text}), tmp_path)
    assert task.baselines("own") == opened(examples, tmp_path).baselines("validation")
    assert list(task.baselines("text")) == ["token frequencies"]
