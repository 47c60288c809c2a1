"""Samples during training: their prompts, and what ends them."""

import json

import pytest

from lmlab.config.build import build
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs

SMALL = ["model=gru", "model.width=16", "model.depth=1", "batch.context=48", "trainer.threads=1", "logger=[]"]
QUESTIONS = ["data=arithmetic", "data.examples=200", "data.scored=20", "tokenizer=byte", "budget.tokens=2000"]


@pytest.fixture
def sampled(lmlab, tmp_path):
    """Train with options, and return the run with the text of its only sample."""

    def trained(*options):
        lmlab("train", *SMALL, *QUESTIONS, *options, "validation.times=1")
        (run,) = all_runs(tmp_path / "outputs" / "runs")
        (row,) = read_jsonl(run.samples)
        return run, row["text"]

    return trained


def test_the_first_prompt_of_a_task_of_examples_is_answered(sampled, lmlab):
    run, text = sampled("callbacks.samples.temperature=0.001")  # as good as greedy
    first = next(build(run.config["data"]).examples("validation")).prompt
    assert text.startswith(first)
    question = first.splitlines()[-1]
    words = [f"run={run.path}", f"input={question}", "greedy=true", "length=64", "accelerator=cpu", "format=jsonl"]
    answer = json.loads(lmlab("generate", *words).stdout)["text"]
    assert answer and text[len(first) :].split("\n")[0] == answer


def test_a_prompt_of_the_user_s_own_is_continued_instead(sampled):
    _, text = sampled("callbacks.samples.prompt=12", "callbacks.samples.length=4")
    assert text.startswith("12") and "+" not in text[:2]
