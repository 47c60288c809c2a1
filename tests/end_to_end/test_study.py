"""Whole studies through the command line: computed, killed, gone on with, and repeated."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lmlab.analysis.comparison import comparison_of
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import all_sweeps

pytestmark = pytest.mark.slow

PLAN = "2 trials of optimizer.lr for each of 2 arms with seed 0, then the best of each with 2 seeds: 8 runs"


@pytest.fixture
def study(small, tmp_path):
    """Begins the study of the quickstart, with networks of no size on the made-up corpus."""
    words = [word for word in small if not word.startswith(("tokenizer", "budget"))]
    words += ["tokenizer.size=280", "logger=[]", "study.trials=2", "study.seeds=[1,2]"]
    words += ["study.equal=[data,tokenizer,budget,context]"]
    environment = os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "COLUMNS": "200"}

    def begin(*more):
        command = [sys.executable, "-m", "lmlab", "study", "experiment=rnn_vs_transformer", *words, *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes)

    return begin


def finish(process, code=0):
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, out + err
    return out if code == 0 else err


def written(outputs):
    """When each of the finished runs was last written to."""
    runs = [run for run in all_runs(outputs / "runs") if run.status_recorded == "finished"]
    return {run.path: (run.path / "run.json").stat().st_mtime_ns for run in runs}


def test_killed_and_repeated_a_study_tunes_both_alike_and_computes_nothing_twice(study, tmp_path):
    outputs = tmp_path / "outputs"
    killed = study("budget.tokens=640")
    deadline = time.monotonic() + 200
    while len(written(outputs)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = written(outputs)
    assert len(before) >= 2
    assert PLAN in finish(study("budget.tokens=640", "hydra/launcher=parallel"))
    after = written(outputs)
    assert len(after) == 8 and {path: after[path] for path in before} == before
    (sweep,) = all_sweeps(outputs / "sweeps")
    alike = ("lstm", "transformer")
    assert [(job.arm, job.phase, job.run.config["seed"]) for job in sweep.jobs] == [
        *[(arm, "trial", 0) for _ in range(2) for arm in alike],
        *[(arm, "final", seed) for seed in (1, 2) for arm in alike],
    ]
    comparison = comparison_of(sweep)
    evaluated = {path for path in after if (path / "evaluations.jsonl").exists()}
    assert comparison.metric == "test/bits_per_byte" and evaluated == {run.run.path for run in comparison.runs}
    rows = {path: (path / "evaluations.jsonl").read_text() for path in evaluated}
    assert all(len(row.splitlines()) == 1 for row in rows.values())
    assert not comparison.left_out and [len(arm.settings) for arm in comparison.arms] == [3, 3]
    rates = []
    for arm in comparison.arms:
        trials = [run for setting in arm.settings[:-1] for run in setting.runs]
        rates.append([run.config["optimizer"]["lr"] for run in trials])
        best = min(trials, key=lambda run: run.metric("validation/bits_per_byte"))
        assert {run.config["optimizer"]["lr"] for run in arm.runs} == {best.config["optimizer"]["lr"]}
        assert {run.choice("model") for run in [*trials, *arm.runs]} == {arm.name}
        assert not any("study" in run.config for run in trials)
    assert rates[0] == rates[1] and len(set(rates[0])) == 2
    report = outputs / "reports" / sweep.path.name / "report.html"
    shown = report.read_text()
    assert all(arm.runs[0].id in shown and arm.name in shown for arm in comparison.arms)
    assert "lmlab study experiment=rnn_vs_transformer" in shown
    report.unlink()
    said = finish(study("budget.tokens=640"))
    assert rows == {path: (path / "evaluations.jsonl").read_text() for path in evaluated}
    assert written(outputs) == after and report.read_text() == shown
    assert str(report) in said.replace("\n", "")
    changed = finish(study("budget.tokens=704", f"hydra.sweep.dir={sweep.path}"), code=1)
    assert f"{sweep.path.name}: its study has been changed since" in changed
    assert written(outputs) == after


def test_seconds_become_tokens_by_a_pilot_and_what_failed_is_said_and_not_tried_again(study, tmp_path):
    outputs = tmp_path / "outputs"
    words = ["study.budget={seconds: 0.2}", "study.seeds=[1]", "study.trials=1"]
    finish(study(*words))
    (sweep,) = all_sweeps(outputs / "sweeps")
    assert [(job.arm, job.phase) for job in sweep.jobs] == [
        (arm, phase) for phase in ("pilot", "final") for arm in ("lstm", "transformer")
    ]
    pilots, finals = [job.run.manifest for job in sweep.jobs[:2]], [job.run for job in sweep.jobs[2:]]
    for pilot, final in zip(pilots, finals, strict=True):
        expected = int(0.2 * pilot["timings"]["tokens_per_second"] / 64) * 64
        assert final.config["budget"] == {"tokens": max(64, expected)} and pilot["timings"]["tokens"] == 50 * 64
    finals[0].update(status="failed", attempts=[{"status": "failed", "error": "it went wrong"}])
    jobs = sweep.jobs
    jobs[2].end("failed", "it went wrong")
    sweep.write(jobs)
    said = finish(study(*words), code=1)
    assert "1 of 2 final runs are missing (lmlab sweep retry name=" in said
    assert finals[0].status_recorded == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=diagnostics"], "experiment=diagnostics: declares no study (these do: recall, rnn_vs_transformer"),
        ([], "experiment has no value: give one that declares a study (recall, rnn_vs_transformer"),
        (["experiment=recall", "study.seeds=[]"], "study.seeds=[]: expected at least one"),
        (["experiment=recall", "study.arms.lstm=['model=lstn']"], "study.arms.lstm: model=lstn: no such option (did"),
        (["experiment=recall", "study.arms.lstm=['model.wdth=3']"], "study.arms.lstm: model.wdth: no such option (did"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left_behind(words, message, lmlab, tmp_path):
    done = lmlab("study", *words, check=False)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list((tmp_path / "outputs").glob("*/*"))
