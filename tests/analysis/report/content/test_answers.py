"""Answers to tasks in a report."""

import math

import pytest
from scipy import stats
from synthetic_runs import write_answers

from lmlab.analysis.report.content.answers import LONGEST, answers
from lmlab.analysis.report.document import Interval, Text

SCORES = {"lstm": {1: [0, 0, 100, 0], 2: [0, 100, 100, 0]}, "transformer": {1: [0, 100, 100, 100]}}


@pytest.fixture
def evaluated(arm):
    for model, by_seed in SCORES.items():
        for seed, scores in by_seed.items():
            (run,) = arm(model, {seed: 1.5})
            write_answers(run, [f"{model} {number}" if number != 2 else "2" for number in range(4)], scores)


def test_metrics_have_intervals_over_seeds_and_over_examples(evaluated, compared, table):
    lstm, transformer = table(answers(compared()), "answers-1")
    low, high = stats.t.interval(0.95, 1, 37.5, 12.5 * math.sqrt(2) / math.sqrt(2))
    assert lstm["exact match"] == Interval(37.5, pytest.approx(low), pytest.approx(high))
    assert lstm["exact match, over examples"] == Interval(37.5, 27.5, 47.5)
    assert transformer["exact match"] == 75.0 and transformer["exact match, over examples"] == Interval(75, 65, 85)
    assert (lstm["runs"], lstm["examples"], lstm["seen in training"]) == (2, 4, 0)


def test_examples_stand_side_by_side_and_those_that_differ_most_come_first(evaluated, compared, table):
    section = answers(compared())
    first = table(section, "examples-1")
    assert [row["right answer"] for row in first] == ["0", "1", "2", "3"]
    assert first[0]["input"] == "question 0" and first[0]["lstm"] == "lstm 0"
    assert any("differ in 3 of 4 examples" in part.text for part in section.parts if isinstance(part, Text))
    differing = table(section, "differing-1")
    assert [row["right answer"] for row in differing] == ["1", "3", "0"]  # by the spread of scores, then in order
    assert differing[0]["transformer"] == "transformer 1 (100)" and differing[0]["lstm"] == "lstm 1 (0)"


def test_arms_with_the_same_answers_do_not_differ(arm, compared):
    for model in ("lstm", "gru"):
        (run,) = arm(model, {1: 1.5})
        write_answers(run, ["x"], [0])
    parts = answers(compared()).parts
    assert [part.name for part in parts if not isinstance(part, Text)] == ["answers-1", "examples-1"]
    assert "same answers to the 1 examples" in parts[-1].text


def test_a_long_text_is_clipped_and_a_missing_file_leaves_the_scores(arm, compared, table):
    (run,) = arm("lstm", {1: 1.5})
    write_answers(run, ["word " * 1000], [0])
    (row,) = table(answers(compared()), "examples-1")
    assert len(row["lstm"]) < LONGEST + 5
    (run.path / "evaluations" / "quiz.jsonl").unlink()
    assert [part.name for part in answers(compared()).parts] == ["answers-1"]


def test_runs_without_predictions_have_no_such_section(arm, compared):
    arm("lstm", {1: 1.5})
    assert answers(compared()) is None
