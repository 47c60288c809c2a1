"""Sweeps through the command line: from one warm process, at the same time, disturbed, and gone on with."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import Sweep, all_sweeps, find_sweep

sys.path.append(str(Path(__file__).parents[1]))
from processes import MARK, assert_none_left, marked, new_mark, parent_of, wait_until

pytestmark = pytest.mark.slow

CALLBACKS = '''
import json, os, time
from pathlib import Path
import pytorch_lightning as pl

class Notes(pl.Callback):
    """Writes down which process it is in and what it finds there."""

    def on_train_start(self, trainer, pl_module):
        found = {"pid": os.getpid(), "parent": os.getppid(), "left": os.environ.get("LEFT")}
        os.environ["LEFT"] = str(pl_module.seed)
        with open("notes", "a") as file:
            file.write(json.dumps(found) + "\\n")

class Fails(pl.Callback):
    """Fails at seed 3 until a file says that it is mended."""

    def on_train_start(self, trainer, pl_module):
        if pl_module.seed == 3 and not Path("mended").exists():
            raise RuntimeError("seed 3 is broken")

class FailsWithFourHeads(pl.Callback):
    """Fails where attention has four heads."""

    def on_train_start(self, trainer, pl_module):
        if any(getattr(part, "heads", None) == 4 for part in pl_module.modules()):
            raise RuntimeError("four heads are broken")

class Slow(pl.Callback):
    """Takes its time until a file says that it may hurry."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not Path("hurry").exists():
            time.sleep(0.5)
'''
PARALLEL = ["-m", "hydra/launcher=parallel", "hydra.launcher.workers=2", "logger=[]"]
DDP = ["trainer=ddp", "trainer.accelerator=cpu"]


@pytest.fixture
def mark():
    """Of every process that the test starts; none may be left when it is over."""
    mark = new_mark()
    yield mark
    assert_none_left(mark)


@pytest.fixture
def train(lmlab, mark):
    return lambda *words, **more: lmlab("train", *words, **{MARK: mark, **more})


@pytest.fixture
def begin(tmp_path, mark):
    """Start a command beside the test."""
    started = []

    def start(*words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "lmlab", *words],
            env=os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "COLUMNS": "200", MARK: mark},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def own(tmp_path):
    """The callback of that name."""
    (tmp_path / "own_callbacks.py").write_text(CALLBACKS)
    return lambda name: f"+callbacks.own._target_=own_callbacks.{name}"


def runs_of(folder: Path) -> dict[int, "dict[str, object]"]:
    """The manifests by seed."""
    return {run.manifest["seed"]: run.manifest for run in all_runs(folder / "outputs" / "runs")}


def newest(folder: Path) -> Sweep:
    return find_sweep(None, folder / "outputs" / "sweeps")


def statuses(sweep: Sweep) -> list[str]:
    return [job.status for job in sweep.jobs]


def finished(folder: Path) -> int:
    return sum(run.status_recorded == "finished" for run in all_runs(folder / "outputs" / "runs"))


def under_way(folder: Path) -> bool:
    """Whether two runs or more have written rows."""
    return sum(len(read_jsonl(run.metrics)) > 2 for run in all_runs(folder / "outputs" / "runs")) >= 2


def test_all_runs_of_a_sweep_begin_in_one_warm_process(train, small_task, own, tmp_path):
    train(*PARALLEL, *small_task, own("Notes"), "seed=1,2,3,4")
    notes = read_jsonl(tmp_path / "notes")
    assert len({note["parent"] for note in notes}) == 1, "the libraries are imported once"
    assert len({note["pid"] for note in notes}) == 4
    assert all(note["left"] is None for note in notes), "nothing that one run leaves behind reaches another"
    sweep = newest(tmp_path)
    assert {run["sweep"] for run in runs_of(tmp_path).values()} == {sweep.path.name}


def test_two_sweeps_that_ask_for_the_same_runs_compute_each_once(begin, small_task, tmp_path):
    words = ["train", *PARALLEL, *small_task, "budget.tokens=6400", "seed=1,2,3,4"]
    both = [begin(*words), begin(*words)]
    for process in both:
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
    sweeps = list(all_sweeps(tmp_path / "outputs" / "sweeps"))
    assert [statuses(sweep) for sweep in sweeps] == [["finished"] * 4] * 2
    assert {seed: len(run["attempts"]) for seed, run in runs_of(tmp_path).items()} == dict.fromkeys([1, 2, 3, 4], 1)


def test_a_job_that_failed_is_left_alone_by_resume_and_computed_by_retry(train, lmlab, small_task, own, tmp_path, mark):
    done = train(*PARALLEL, *small_task, own("Fails"), "seed=1,2,3", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "1 of 3 jobs failed (lmlab sweep retry name=" in done.stderr
    attempts = lambda: {seed: len(run["attempts"]) for seed, run in runs_of(tmp_path).items()}  # noqa: E731
    expected = {1: 1, 2: 1, 3: 1}
    assert statuses(newest(tmp_path)) == ["finished", "finished", "failed"] and attempts() == expected
    shown = lmlab("sweep", "status").stdout
    assert "RuntimeError: seed 3 is broken" in shown and "Next: lmlab sweep retry" in shown
    (tmp_path / "mended").touch()
    done = lmlab("sweep", "resume", check=False, **{MARK: mark})
    assert "1 of 3 jobs failed" in done.stderr and attempts() == expected
    lmlab("sweep", "retry", **{MARK: mark})
    assert attempts() == {1: 1, 2: 1, 3: 2} and statuses(newest(tmp_path)) == ["finished"] * 3


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_sweep_is_cancelled_killed_and_stopped_and_gone_on_with(ranks, begin, lmlab, small_task, own, tmp_path, mark):
    words = [*PARALLEL, *small_task, own("Slow"), "budget.tokens=19_200", "callbacks.checkpoint.every=20"]  # 300 steps
    process = begin("train", *words, *(DDP if ranks == 2 else []), "seed=1,2,3")
    wait_until(lambda: under_way(tmp_path), "nothing began")
    assert len(marked(mark)) >= 2 + 2 * (1 if ranks == 1 else 3)
    shown = lmlab("sweep", "status").stdout
    assert "running" in shown and "Next: lmlab sweep cancel" in shown
    refused = lmlab("sweep", "resume", check=False)
    assert f"process {process.pid} on " in refused.stderr and refused.returncode == 1
    cancelled = lmlab("sweep", "cancel").stdout
    assert process.wait(timeout=180) == 75
    assert "interrupted" in cancelled and "Next: lmlab sweep resume" in cancelled
    assert_none_left(mark)
    sweep = newest(tmp_path)
    assert sweep.status == "interrupted" and statuses(sweep) == ["interrupted"] * 2
    assert "not running (status: interrupted)" in lmlab("sweep", "cancel", check=False).stderr
    for run in all_runs(tmp_path / "outputs" / "runs"):
        assert run.manifest["status"] == "interrupted" and "SIGTERM" in run.manifest["attempts"][0]["error"]
        assert list(run.checkpoints.glob("step-*")), "it has written its state"

    steps = {run.path: len(read_jsonl(run.metrics)) for run in all_runs(tmp_path / "outputs" / "runs")}
    gone_on = lambda: any(len(read_jsonl(path / "metrics.jsonl")) > rows + 2 for path, rows in steps.items())  # noqa: E731
    process = begin("sweep", "resume")
    wait_until(gone_on, "it did not go on")
    process.kill()
    process.wait()
    assert_none_left(mark)
    assert sweep.status == "interrupted"
    shown = lmlab("sweep", "status").stdout
    assert "interrupted" in shown and "running" not in shown

    process = begin("sweep", "resume")
    wait_until(lambda: sweep.status == "running" and len(marked(mark)) > 4, "it did not go on")
    process.terminate()
    assert process.wait(timeout=180) == 75
    assert_none_left(mark)

    (tmp_path / "hurry").touch()
    lmlab("sweep", "resume", f"name={sweep.path.name}", **{MARK: mark})
    assert sweep.status == "finished" and statuses(sweep) == ["finished"] * 3
    for run in all_runs(tmp_path / "outputs" / "runs"):
        rows = [row["step"] for row in read_jsonl(run.metrics) if "train/loss" in row]
        assert rows == list(range(1, 301))
        assert {attempt["processes"] for attempt in run.manifest["attempts"]} == {ranks}
    assert not list((tmp_path / "outputs").rglob(".*.tmp"))


def test_how_many_devices_share_a_run_makes_it_no_other(train, small_task, tmp_path):
    words = ["-m", *small_task, *DDP, "trainer.devices=1,2", "logger=[]"]
    done = train(*words)
    assert "job 2 (trainer.devices=2) asks for the same run as job 1 (trainer.devices=1)" in done.stdout + done.stderr
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert [attempt["processes"] for attempt in run.manifest["attempts"]] == [1]
    train(*words, "rerun=true")
    again = sorted(all_runs(tmp_path / "outputs" / "runs"), key=lambda run: run.path.name)[1:]
    assert [[attempt["processes"] for attempt in run.manifest["attempts"]] for run in again] == [[1], [2]]
    train(*PARALLEL, *small_task, *DDP, "trainer.devices=1,2", "seed=7,8")
    assert {run["attempts"][0]["processes"] for seed, run in runs_of(tmp_path).items() if seed > 6} == {1}


def study_of(storage: object, name: str = "sweep"):
    import optuna

    return optuna.load_study(study_name=name, storage=storage)


def test_a_study_whose_launcher_was_killed_ends_with_the_number_of_its_trials(begin, lmlab, small_task, tmp_path, mark):
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    words = [*PARALLEL, *small_task, "sweep=optuna", "sweep.trials=8", "sweep.pruner=median", "budget.tokens=6400"]
    words += ["sweep.pruner_options={n_startup_trials: 2}", "validation.times=10"]
    process = begin("train", *words, "optimizer.lr=tag(log,interval(1e-5,1.0))")
    wait_until(lambda: finished(tmp_path) >= 2, "no job ended")
    process.kill()
    process.wait()
    assert_none_left(mark)
    done = lmlab("sweep", "resume", check=False, **{MARK: mark})
    sweep = newest(tmp_path)
    assert sweep.status == "finished" and len(sweep.jobs) == 8, done.stderr
    assert set(statuses(sweep)) <= {"finished", "pruned"}
    assert [job.run.status for job in sweep.jobs] == statuses(sweep)
    study = study_of(JournalStorage(JournalFileBackend(str(sweep.path / "study.jsonl"))))
    ended = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == 8 and not [trial for trial in study.trials if not trial.state.is_finished()]
    best = min((-run.manifest["metrics"]["validation/accuracy"], job.number) for job in sweep.jobs
               if job.status == "finished" for run in [job.run])  # fmt: skip
    assert f"Best, job {best[1] + 1}: " in done.stdout and f"accuracy {-best[0]:.1%}" in done.stdout
    assert study.best_value == -best[0]


def test_two_sweeps_share_a_study_in_a_database(begin, lmlab, small_task, own, tmp_path):
    words = ["train", *PARALLEL, *small_task, own("Slow"), "sweep=optuna", "sweep.trials=7", "sweep.study=ours"]
    words += [f"sweep.storage=sqlite:///{tmp_path}/study.db", "optimizer.lr=tag(log,interval(1e-5,1.0))"]
    both = [begin(*words), begin(*words)]
    jobs = lambda: [len(sweep.jobs) for sweep in all_sweeps(tmp_path / "outputs" / "sweeps")]  # noqa: E731
    wait_until(lambda: len(jobs()) == 2 and all(jobs()), "both have a part of it")
    (tmp_path / "hurry").touch()
    for process in both:
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
    sweeps = list(all_sweeps(tmp_path / "outputs" / "sweeps"))
    numbers = [[job.number for job in sweep.jobs] for sweep in sweeps]
    assert sorted(numbers[0] + numbers[1]) == list(range(7)) and all(numbers)
    study = study_of(f"sqlite:///{tmp_path}/study.db", "ours")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 7
    assert len(list(all_runs(tmp_path / "outputs" / "runs"))) == 7
    refused = lmlab(*words, "sweep.study=null", check=False)
    assert "give this one's name" in refused.stderr


def test_random_search_and_halving(train, small_task, tmp_path):
    space = ["optimizer.lr=tag(log,interval(1e-5,1.0))", "seed=1,2"]
    done = train(*PARALLEL, *small_task, "sweep=random", "sweep.trials=3", *space)
    assert statuses(newest(tmp_path)) == ["finished"] * 3
    assert re.search(r"Best, job [123]: optimizer.lr=\S+ seed=[12] \(validation accuracy \d+\.\d%", done.stdout)
    words = ["sweep=halving", "sweep.trials=4", "sweep.factor=2", "sweep.tokens=128"]
    done = train(*PARALLEL, *[word for word in small_task if "budget" not in word], *words, *space)
    jobs = newest(tmp_path).jobs
    tokens = [job.run.manifest["timings"]["tokens"] for job in jobs]
    assert tokens == [128] * 4 + [256] * 2 + [512]
    scores = [job.run.manifest["metrics"]["validation/accuracy"] for job in jobs]
    second = sorted(range(4), key=lambda number: -scores[number])[:2]
    assert [job.overrides[:2] for job in jobs[4:6]] == [jobs[number].overrides[:2] for number in second]
    assert "Best, job 7: " in done.stdout
    assert json.loads((newest(tmp_path).path / "sweep.json").read_text())["search"]["factor"] == 2


def test_sweeps_that_begin_together_have_directories_of_their_own(compose):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from lmlab.config.canonical import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [hydra_compose("train", [], return_hydra_config=True) for _ in range(2)]
    first, second = (config.hydra.sweep.dir for config in configs)
    assert first != second and configs[0].hydra.sweep.dir == first


def test_parents_are_known():
    assert parent_of(os.getpid()) == os.getppid()


def test_signals_are_not_lost_while_a_run_is_being_started():
    from lmlab.processes.signals import stopped_by_signals, undisturbed

    done = []
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), stopped_by_signals():
        with undisturbed(), undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("within")
        done.append("after")
    assert done == ["within"]


def test_options_of_one_arm_are_varied_there_and_a_moved_project_goes_on_with_the_sweep(lmlab, small_task, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "own_callbacks.py").write_text(CALLBACKS)
    own = "+callbacks.own._target_=own_callbacks.FailsWithFourHeads"
    environment = {"LMLAB_OUTPUTS": "outputs"}
    words = ["-m", *small_task, "logger=[]", own, "model=lstm,transformer", "model.mixer.heads=2,4"]
    said = lmlab("train", *words, cwd=project, check=False, **environment)
    assert "Not every job has every option: model.mixer.heads only with model=transformer\n" in said.stdout
    assert "model.mixer.heads=None" not in said.stdout and said.stdout.count("of 3:") == 3
    (sweep,) = all_sweeps(project / "outputs" / "sweeps")
    assert [job.status for job in sweep.jobs] == ["finished", "finished", "failed"]
    assert [job.name for job in sweep.jobs][::2] == ["model=lstm", "model=transformer model.mixer.heads=4"]
    created = {run.path.name: run.manifest["created"] for run in all_runs(project / "outputs" / "runs")}
    project = project.rename(tmp_path / "elsewhere")
    shown = lmlab("sweep", "status", f"name={sweep.path.name}", cwd=project, **environment).stdout
    assert shown.count("finished") >= 3 and all(name in shown for name in created)
    again = lmlab("sweep", "retry", f"name={sweep.path.name}", cwd=project, check=False, **environment)
    assert again.returncode != 0 and "failed" in again.stdout
    lmlab("train", *words[:-1], "model.mixer.heads=2", cwd=project, **environment)  # a single value is as conditional
    assert {run.path.name: run.manifest["created"] for run in all_runs(project / "outputs" / "runs")} == created
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("launcher", ["sequential", "parallel"])
def test_jobs_that_ask_for_one_run_afresh_have_a_copy_each(launcher, lmlab, small_task, tmp_path):
    words = ["-m", *small_task, "logger=[]", f"hydra/launcher={launcher}", "rerun=true", "seed=1,2,1,1"]
    for copies in (3, 6):
        lmlab("train", *words)
        runs = list(all_runs(tmp_path / "outputs" / "runs"))
        assert [run.status for run in runs] == ["finished"] * len(runs)
        assert sum(run.manifest["seed"] == 1 for run in runs) == copies and len(runs) == copies * 4 // 3
    for sweep in all_sweeps(tmp_path / "outputs" / "sweeps"):
        assert len({job.path for job in sweep.jobs}) == 4


def test_a_failure_ends_a_sweep_and_a_retry_goes_on_with_all_of_it(train, lmlab, small, own, tmp_path):
    words = [*small, "logger=[]", own("Fails"), "sweep.stop_after=1", "model.width=8,16", "optimizer.lr=1e-3,3e-4"]
    words += ["sweep.zip=[model.width,optimizer.lr]", "seed=2,3"]
    done = train("-m", *words, check=False)
    sweep = newest(tmp_path)
    assert done.returncode == 1 and statuses(sweep) == ["finished", "failed", "not started", "not started"]
    assert "No further job starts: 1 job failed (sweep.stop_after=1)" in done.stdout
    assert f"lmlab sweep retry name={sweep.path.name}" in done.stderr
    assert "2 jobs were not started: model.width=16 optimizer.lr=0.0003 seed=2" in done.stdout
    shown = lmlab("sweep", "status").stdout
    assert "not started" in shown and f"lmlab sweep retry name={sweep.path.name}" in shown
    (tmp_path / "mended").touch()
    done = lmlab("sweep", "retry")
    assert statuses(newest(tmp_path)) == ["finished"] * 4 and newest(tmp_path).path == sweep.path
    assert "Results by arm" in done.stdout
    expected = [(8, 0.001, 2), (8, 0.001, 3), (16, 0.0003, 2), (16, 0.0003, 3)]
    configs = [job.run.config for job in sweep.jobs]
    assert [(c["model"]["width"], c["optimizer"]["lr"], c["seed"]) for c in configs] == expected
