import pytest
from compared_arms import arm, between, found

from lmlab.analysis.doubts import examine
from lmlab.runs.lookup import all_runs


@pytest.mark.parametrize(
    ("number", "checks"),
    [
        (11, {"causal": False, "stepwise": 0.0, "stepwise_agrees": True}),
        (12, {"causal": True, "stepwise": 0.5, "stepwise_agrees": False}),
    ],
)
def test_11_and_12_checks_that_failed_or_were_not_made(runs, number, checks):
    arm(runs, "lstm", checks=checks)
    found(runs, number, "refuse", "3 of 6 models")
    for run in all_runs(runs):
        run.update(checks={})
    doubts = examine(between(runs))
    assert [(doubt.number, doubt.severity, len(doubt.runs)) for doubt in doubts] == [(11, "doubt", 6), (12, "doubt", 6)]
