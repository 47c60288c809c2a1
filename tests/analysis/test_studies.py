import pytest
from compared_arms import score_on
from synthetic_runs import write_run

from lmlab.analysis.studies import comparison_of
from lmlab.errors import UserError
from lmlab.sweeps.study import Study
from lmlab.sweeps.sweep import Job, Sweep

STUDY = {
    "arms": {"transformer": ["model=transformer"], "lstm": ["model=lstm"], "gru": ["model=gru"]},
    "tune": {"optimizer.lr": "1e-3,3e-3"},
    "trials": 2,
    "seeds": [1, 2, 3],
    "metric": "validation/loss",
}


@pytest.fixture
def sweep(tmp_path):
    """A study in which nothing of an arm is finished, and of the others a trial and a final run went wrong."""
    jobs = []

    def job(phase, arm, seed, lr, **more):
        run = write_run(tmp_path / "runs", f"model={arm}", seed=seed, options={"optimizer.lr": lr}, **more)
        if phase == "final" and run.manifest["metrics"]:
            score_on(run, shift=1.0)
        status = more.get("status", "finished")
        words = [f"model={arm}", f"seed={seed}"]
        jobs.append(Job(len(jobs), words, f"{arm} {phase}", status, str(run.path), arm=arm, phase=phase))

    job("pilot", "lstm", 0, 5e-3)
    for lr in (1e-3, 3e-3):
        job("trial", "lstm", 0, lr, loss=1.5 + lr)
        job("trial", "transformer", 0, lr, status="failed" if lr == 1e-3 else "finished")
        job("trial", "gru", 0, 1e-3)  # the same draw twice: one run
    for seed in (3, 1, 2):
        job("final", "lstm", seed, 1e-3)
        job("final", "transformer", seed, 3e-3, metrics={} if seed == 2 else {"validation/loss": 1.0 + seed})
    jobs.append(
        Job(
            len(jobs), ["model=gru"], "gru final seed=1", "failed", error="model=gru: refused", arm="gru", phase="final"
        )
    )
    jobs.append(Job(len(jobs), ["model=gru"], "gru final seed=2", arm="gru", phase="final"))
    sweep = Sweep(tmp_path / "sweeps" / "study")
    sweep.begin(["experiment=x"], {}, {}, STUDY)
    sweep.write(jobs)
    sweep.end("finished")
    return sweep


def test_arms_are_those_declared_with_their_trials_and_the_final_runs_that_stand_for_them(sweep):
    comparison = comparison_of(sweep)
    assert (comparison.metric, comparison.selection_metric) == ("test/loss", "validation/loss")
    assert comparison.minimizes and comparison.study == Study.read(STUDY)
    transformer, lstm = comparison.arms
    assert (transformer.name, lstm.name) == ("transformer", "lstm")
    assert [run.seed for run in lstm.runs] == [1, 2, 3] and lstm.settings[-1] is lstm.representative
    trials = lstm.settings[:-1]
    assert [(run.seed, run.config["optimizer"]["lr"]) for setting in trials for run in setting.runs] == [
        (0, 1e-3),
        (0, 3e-3),
    ]
    assert transformer.scores("test/loss") == {1: 3.0, 3: 5.0} and len(transformer.settings) == 2
    assert {run.seed for run in comparison.runs} == {1, 2, 3}, "no score that something was chosen for"


def test_whatever_is_missing_is_named_with_its_reason(sweep):
    (unscored,) = [job.run for job in sweep.jobs if job.arm == "transformer" and job.run.manifest["seed"] == 2]
    left = {run.run.split(" run ")[0]: run.why for run in comparison_of(sweep).left_out if "gru" not in run.run}
    assert left == {
        "transformer, trial": "is failed: it has no result",
        "transformer, final": f"has no test/loss: lmlab evaluate run={unscored.id} split=test scores it",
    }
    gru = {run.run: run.why for run in comparison_of(sweep).left_out if "gru" in run.run}
    assert gru == {
        "gru, final run gru final seed=1": "model=gru: refused",
        "gru, final run gru final seed=2": "is waiting",
        "gru": "has no finished final run",
    }


def test_a_run_that_cannot_be_read_hides_no_other(sweep):
    (sweep.jobs[-3].run.path / "run.json").write_text("{")
    comparison = comparison_of(sweep)
    assert any("cannot be read" in run.why for run in comparison.left_out)
    assert [len(arm.runs) for arm in comparison.arms] == [2, 3] or [len(arm.runs) for arm in comparison.arms] == [1, 3]


def test_a_sweep_of_no_study_has_no_arms(tmp_path):
    sweep = Sweep(tmp_path / "other")
    sweep.begin(["-m"], {}, {})
    sweep.end("finished")
    with pytest.raises(UserError, match="not the sweep of a study"):
        comparison_of(sweep)


def test_without_a_test_split_a_study_concludes_where_it_has_chosen(sweep):
    for job in sweep.jobs:
        if job.path is not None:
            splits = {"train": {"tokens": 10}, "validation": {"tokens": 10}}
            job.run.update(data=job.run.manifest["data"] | {"splits": splits})
    comparison = comparison_of(sweep)
    assert comparison.metric == comparison.selection_metric == "validation/loss"
    assert comparison.arms[0].scores("validation/loss") == {1: 2.0, 3: 4.0}


def test_a_metric_of_a_callback_has_its_direction_and_no_test_split(tmp_path):
    sweep = Sweep(tmp_path / "sweep")
    sweep.begin(["experiment=x"], {}, {}, STUDY | {"metric": "validation/mine", "direction": "maximize"})
    run = write_run(tmp_path / "runs", "model=lstm", metrics={"validation/mine": 3.0})
    sweep.write([Job(0, ["model=lstm"], "lstm", "finished", str(run.path), arm="lstm", phase="final")])
    comparison = comparison_of(sweep)
    assert comparison.metric == "validation/mine" and not comparison.minimizes
    assert comparison.arms[0].scores("validation/mine") == {1: 3.0}
