"""Answers that are scored by their likelihood."""

import json
import math

import pytest

from lmlab.commands.answers import Answers, metrics_of
from lmlab.commands.prompts import output_file
from lmlab.errors import UserError
from lmlab.models.likelihood import Scored


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def run(lmlab, small, tmp_path):
    """A run whose tokens are characters: every text that it writes can be an answer."""
    words = [word for word in small if not word.startswith("tokenizer")]
    lmlab("train", *words, "model=transformer", "tokenizer=character", "callbacks.samples.length=1")
    (path,) = tmp_path.glob("outputs/runs/*")
    return [f"run={path}", "threads=1", "accelerator=cpu"]


@pytest.mark.slow
def test_an_answer_is_as_probable_as_when_it_was_generated(run, lmlab, tmp_path):
    prompts = ["the cat", "", "two birds saw every tree on a mat, and"]  # the last is longer than the context of 16
    file = write(tmp_path / "p.jsonl", *({"prompt": prompt, "id": number} for number, prompt in enumerate(prompts)))
    words = [f"prompts={file}", "format=jsonl", "log_probabilities=true", "length=20"]
    done = lmlab("generate", *run, *words, "greedy=true")
    texts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(text["log_probabilities"]) for text in texts] == [len(text["token_ids"]) for text in texts] == [20] * 3
    assert "line 3: the first 22 tokens are left out" in done.stderr

    answers = [{"prompt": text["prompt"], "answer": text["text"], "id": text["id"]} for text in texts]
    answers.append({"prompt": "the", "answer": "tttttt"})
    write(tmp_path / "q.jsonl", *answers)
    done = lmlab("evaluate", *run, f"prompts={tmp_path / 'q.jsonl'}", f"output={tmp_path / 'o.jsonl'}", "batch_size=3")
    assert "line 3: the first 22 tokens are left out" in done.stderr
    scored = lines(tmp_path / "o.jsonl")
    assert [(row["prompt"], row["answer"]) for row in scored] == [(row["prompt"], row["answer"]) for row in answers]
    for row, text in zip(scored, texts, strict=False):
        assert row["log_probabilities"] == pytest.approx(text["log_probabilities"], abs=1e-5)
        assert row["log_probability"] / row["tokens"] == pytest.approx(text["mean_log_probability"], abs=1e-5)
        assert row["correct"] and row["id"] == text["id"] and row["run"] == text["run"]
    assert not scored[3]["correct"] and scored[3]["tokens"] == 6

    (path,) = tmp_path.glob("outputs/runs/*/evaluations.jsonl")
    (recorded,) = lines(path)
    assert recorded["metrics"]["answers"]["loss"] == pytest.approx(-sum(row["log_probability"] for row in scored) / 66)
    assert recorded["metrics"]["answers"]["answers_correct"] == 0.75
    assert recorded["settings"]["split"] == f"answers {recorded['answers']['fingerprint'][:12]}"


def test_means_are_over_tokens_and_over_answers():
    scored = [Scored([-1.0, -2.0], [True, True], [0.5, 0.5]), Scored([-6.0], [False], [0.9])]
    assert metrics_of(scored) == {
        "loss": 3.0,
        "perplexity": math.exp(3),
        "accuracy": 2 / 3,
        "answers": 2,
        "answers_correct": 0.5,
        "log_probability": -4.5,
        "tokens": 3,
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a"}, r"line 1: has no key answer; expected a record"),
        ({"prompt": "a", "answer": ""}, r"line 1: answer=\"\": expected a text"),
        ({"prompt": "a", "answer": 4}, r"line 1: answer=4: expected a text"),
        ({"prompt": "a", "answer": "4", "run": 1}, r"the key run is one of the output's own .*; rename it$"),
    ],
)
def test_a_record_without_an_answer_is_refused(record, message, tmp_path):
    with pytest.raises(UserError, match=message):
        Answers.read(str(write(tmp_path / "p.jsonl", record)))


def test_the_fingerprint_tells_prompts_from_answers(tmp_path):
    def fingerprint(prompt, answer):
        return Answers.read(str(write(tmp_path / "p.jsonl", {"prompt": prompt, "answer": answer}))).fingerprint

    assert fingerprint("ab", "c") == fingerprint("ab", "c") != fingerprint("a", "bc")


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    prompts = write(tmp_path / "p.jsonl", {"prompt": "a", "answer": "b"})
    for output, message in (
        ("o.txt", "expected a file that ends in .jsonl"),
        (tmp_path / "none" / "o.jsonl", "there is no folder"),
        (prompts, "is the file of the prompts"),
    ):
        with pytest.raises(UserError, match=message):
            output_file(str(output), str(prompts))
    assert output_file(None, str(prompts)) is None
    assert output_file(str(tmp_path / "o.jsonl"), str(prompts)) == tmp_path / "o.jsonl"
