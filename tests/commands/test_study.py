"""Scoring the final runs of a study on the test split, without training and without networks."""

import math

import pytest
from compared_arms import score_on
from synthetic_runs import write_run

from lmlab.analysis.comparison import comparison_of
from lmlab.commands import evaluate
from lmlab.commands.study import score_final_runs
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Job, Sweep

STUDY = {
    "arms": {"lstm": ["model=lstm"], "gru": ["model=gru"]},
    "tune": {"optimizer.lr": "1e-3,3e-3"},
    "seeds": [1, 2],
    "metric": "validation/loss",
}


@pytest.fixture
def sweep(tmp_path):
    jobs = []
    for arm in STUDY["arms"]:
        for phase, seed, rate in [("trial", 0, 1e-3), ("trial", 0, 3e-3), ("final", 1, 1e-3), ("final", 2, 1e-3)]:
            run = write_run(tmp_path / "runs", f"model={arm}", seed=seed, options={"optimizer.lr": rate})
            jobs.append(Job(len(jobs), [f"model={arm}"], "", "finished", str(run.path), arm=arm, phase=phase))
    sweep = Sweep(tmp_path / "sweeps" / "study")
    sweep.begin(["experiment=x"], {}, {}, STUDY)
    sweep.write(jobs)
    sweep.end("finished")
    return sweep


@pytest.fixture
def scored(monkeypatch):
    """The runs that are scored, in order; one that is in ``refusing`` raises the error there instead."""

    class Scored(list):
        refusing = {}

    runs = Scored()

    def score(run, paths, split, threads):
        if (error := runs.refusing.get(len(runs))) is not None:
            runs.refusing.clear()
            raise error
        runs.append(run)
        score_on(run, split)
        return {}, {"fixed_window": {"loss": 1.0}}, {}

    monkeypatch.setattr(evaluate, "score", score)
    return runs


def test_every_final_run_is_scored_once_and_no_trial(sweep, scored):
    assert score_final_runs(comparison_of(sweep), {}) == 0
    assert scored == [job.run for job in sweep.jobs if job.phase == "final"]
    comparison = comparison_of(sweep)
    assert score_final_runs(comparison, {}) == 0 and len(scored) == 4
    assert comparison.metric == "test/loss" and [len(arm.runs) for arm in comparison.arms] == [2, 2]
    for run in comparison.runs:
        expected = run.metric("validation/loss") + 0.05
        assert run.metric("test/loss") == pytest.approx(expected) and run.manifest["status"] == "finished"


def test_a_trial_that_diverged_is_not_scored(sweep, scored):
    trial = next(job.run for job in sweep.jobs if job.phase == "trial")
    trial.update(metrics=trial.manifest["metrics"] | {"validation/loss": math.nan})
    comparison = comparison_of(sweep)
    assert [left.record.run for left in comparison.left_out if left.is_trial] == [trial]
    assert score_final_runs(comparison, {}) == 0
    assert scored == [job.run for job in sweep.jobs if job.phase == "final"]


def test_an_interruption_keeps_what_is_scored_and_the_rest_comes_next_time(sweep, scored):
    scored.refusing[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        score_final_runs(comparison_of(sweep), {})
    assert len(scored) == 2 and len(comparison_of(sweep).runs) == 2
    score_final_runs(comparison_of(sweep), {})
    assert scored == [job.run for job in sweep.jobs if job.phase == "final"]


def test_a_run_that_cannot_be_scored_is_named_and_hides_no_other(sweep, scored, capsys):
    scored.refusing[1] = UserError("the weights are not those that were written")
    assert score_final_runs(comparison_of(sweep), {}) == 1
    assert "cannot be scored: the weights are not those that were written" in capsys.readouterr().out
    comparison = comparison_of(sweep)
    assert len(scored) == len(comparison.runs) == 3
    (left,) = comparison.left_out
    assert left.why == f"has no test/loss: lmlab evaluate run={left.record.id} split=test scores it"
    assert score_final_runs(comparison, {}) == 0 and len(comparison_of(sweep).runs) == 4


def test_without_a_test_split_nothing_is_scored(sweep, scored):
    for job in sweep.jobs:
        splits = {"train": {"tokens": 10}, "validation": {"tokens": 10}}
        job.run.update(data=job.run.manifest["data"] | {"splits": splits})
    assert score_final_runs(comparison_of(sweep), {}) == 0 and not scored
