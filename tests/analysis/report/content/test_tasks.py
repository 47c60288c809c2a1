"""Scores on each task, and those of trivial baselines, in a report."""

import json

import pytest
from scipy import stats
from synthetic_runs import write_answers

from lmlab.analysis.report.content.answers import answers
from lmlab.analysis.report.content.tasks import tasks
from lmlab.analysis.report.document import Interval, Text

TRIVIAL = {"validation": {"first sentence": {"loss": 1.45, "bits_per_byte": 0.8}}}
"""Beside the losses below; 0.4 / ln 2 of them are bits per byte."""


def test_every_arm_stands_beside_the_baselines(arm, compared, table):
    arm("lstm", {1: 1.48, 2: 1.50, 3: 1.52}, baselines=TRIVIAL)
    arm("transformer", {1: 1.22, 2: 1.23, 3: 1.24}, baselines=TRIVIAL)
    section = tasks(compared())
    lstm, transformer, trivial = table(section, "tasks")
    low, high = stats.t.interval(0.95, 2, 1.23, stats.sem([1.22, 1.23, 1.24]))
    scale = 0.4 / 0.6931471805599453
    expected = Interval(*(pytest.approx(scale * value) for value in (1.23, low, high)))
    assert transformer["bits/byte"] == expected and lstm["runs"] == 3
    assert (trivial["arm"], trivial["runs"], trivial["bits/byte"]) == ("first sentence", None, 0.8)
    lines = [part.text for part in section.parts if isinstance(part, Text)]
    assert not lines, "an arm beats them, and there is one task"


def test_runs_without_the_same_baselines_have_no_such_section(arm, compared):
    arm("lstm", {1: 1.48})
    assert tasks(compared()) is None
    arm("transformer", {1: 1.43}, baselines=TRIVIAL)
    assert tasks(compared()) is None


def test_a_task_on_which_no_arm_is_better_is_named(arm, compared):
    arm("transformer", {1: 1.43}, baselines=TRIVIAL)
    (line,) = (part.text for part in tasks(compared()).parts if isinstance(part, Text))
    assert line == "No model beats the first sentence on validation: bits/byte 0.8000."


def test_plain_text_alone_needs_no_baseline(arm, compared):
    arm("lstm", {1: 1.48}, baselines={"validation": {"token frequencies": {"bits_per_byte": 0.9}}})
    assert tasks(compared()) is None


def test_scores_of_an_evaluation_stand_above_the_baselines_on_its_examples(arm, compared, table):
    (run,) = arm("lstm", {1: 1.5})
    write_answers(run, ["0", "x"], [100, 0])
    path = run.path / "evaluations.jsonl"
    row = json.loads(path.read_text()) | {"baselines": {"first sentence": {"em": 25.0}}}
    path.write_text(json.dumps(row) + "\n")
    lstm, trivial = table(answers(compared()), "answers-1")
    assert lstm["exact match"] == 50 and trivial["exact match"] == 25 and trivial["arm"] == "first sentence"
    assert trivial["examples"] == 2 and trivial["runs"] is None
