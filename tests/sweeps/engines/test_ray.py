"""Runs as tasks of a Ray cluster of this machine."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lmlab.commands.train import create
from lmlab.errors import UserError
from lmlab.processes.supervisor import execute
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs, directory_for
from lmlab.sweeps.engines.ray import Ray
from lmlab.sweeps.sweep import Job


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"hydra/launcher=ray: Ray is missing \(pip install 'lmlab\[ray\]'\)"):
        Ray()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 0}, "hydra.launcher.cpus=0: expected at least 1"),
        ({"workers": 0}, "hydra.launcher.workers=0: expected at least 1"),
        ({"gpus": 1.5}, "hydra.launcher.gpus=1.5: expected a whole number, or a fraction of one GPU"),
        ({"gpus": -1}, "hydra.launcher.gpus=-1: expected a whole number"),
        ({"memory": 0}, "hydra.launcher.memory=0: expected gigabytes above 0"),
    ],
)
def test_values_out_of_range_are_refused_before_ray_starts(options, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=message):
        Ray(**options)


def test_a_job_that_is_taken_back_before_it_is_submitted_is_returned():
    engine, job = object.__new__(Ray), Job(0, [])
    engine._waiting, engine._withdrawn, engine._running = [job], [], {}
    engine.stop(job, "taken back")
    assert engine.poll(0) == [job] and (job.status, job.error) == ("interrupted", "taken back")
    assert engine.poll(0) == [] and engine._waiting == []


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine for several engines."""
    ray = pytest.importorskip("ray", reason="the extra lmlab[ray] is not installed")
    yield ray
    ray.shutdown()


@pytest.fixture
def prepared(compose, small, tmp_path):
    """Lay out the directory of one and the same run of 100 steps in a folder of outputs of that name."""
    from lmlab.training.preflight import check

    def prepare(name: str, *overrides: str):
        words = [*small, "budget.tokens=6400", "model=lstm", "logger=[]", *overrides]
        config = compose(*words, outputs=tmp_path / name)
        run = directory_for(config)
        create(run, config, data=check(config).describe(), sweep=None, choices={})
        return run

    return prepare


def jobs_of(runs) -> list[Job]:
    return [Job(number, [], path=str(run.path)) for number, run in enumerate(runs)]


def wait_for_rows(engine: Ray, job: Job, rows: int) -> None:
    deadline = time.monotonic() + 60
    while len(read_jsonl(job.run.metrics) if job.run.metrics.exists() else []) < rows:
        assert not engine.poll(0.05) and time.monotonic() < deadline, (job.status, job.error)


def wait_for(engine: Ray, job: Job) -> None:
    deadline = time.monotonic() + 60
    while job not in engine.poll(0.1):
        assert time.monotonic() < deadline, "the job does not end"


def processes_with(text: str) -> list[int]:
    """The processes whose environment has ``text`` in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return found


@pytest.mark.slow
def test_a_sweep_is_what_it_is_one_after_another_and_nothing_is_left_running(lmlab, small, tmp_path):
    pytest.importorskip("ray", reason="the extra lmlab[ray] is not installed")
    words = ["train", "-m", *small, "model=lstm", "logger=[]", "seed=1,2,3"]
    weights = {}
    for launcher in ("sequential", "ray"):
        outputs = str(tmp_path / f"outputs-of-{launcher}")
        lmlab(*words, f"hydra/launcher={launcher}", LMLAB_OUTPUTS=outputs)
        runs = list(all_runs(Path(outputs) / "runs"))
        assert [run.status for run in runs] == ["finished"] * 3
        weights[launcher] = {run.path.name: run.weights.read_bytes() for run in runs}
    assert len(weights["ray"]) == 3
    assert weights["ray"] == weights["sequential"]
    deadline = time.monotonic() + 20
    while left := processes_with(outputs):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.slow
def test_a_stopped_run_and_one_that_lost_its_worker_go_on_bit_identical(cluster, prepared):
    undisturbed = prepared("undisturbed")
    execute(undisturbed, lambda _: None)
    stopped, killed = jobs = jobs_of([prepared("stopped"), prepared("killed")])
    engine = Ray(workers=2)
    for job in jobs:
        engine.submit(job)
    assert engine.free == 0

    wait_for_rows(engine, stopped, 20)
    engine.stop(stopped, "seen enough")
    wait_for(engine, stopped)
    assert (stopped.status, stopped.error) == ("interrupted", "seen enough")
    assert stopped.run.status_recorded == "interrupted"
    assert [attempt["error"] for attempt in stopped.run.manifest["attempts"]] == ["stopped by the sweep"]

    wait_for_rows(engine, killed, 20)
    os.kill(killed.run.manifest["attempts"][-1]["pid"], signal.SIGKILL)
    wait_for(engine, killed)
    assert (killed.status, killed.error) == ("finished", None)
    assert len(killed.run.manifest["attempts"]) == 2

    again = Job(0, [], path=stopped.path)
    engine.submit(again)
    wait_for(engine, again)
    assert again.status == "finished"
    assert stopped.run.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert killed.run.weights.read_bytes() == undisturbed.weights.read_bytes()


@pytest.mark.slow
def test_a_run_that_may_not_start_again_fails_with_its_worker(cluster, prepared):
    (job,) = jobs_of([prepared("lost", "execution.restarts=0")])
    engine = Ray()
    engine.submit(job)
    wait_for_rows(engine, job, 5)
    assert job.status == "running"
    os.kill(job.run.manifest["attempts"][-1]["pid"], signal.SIGKILL)
    wait_for(engine, job)
    assert job.status == "failed"
    assert job.error.startswith("its task was lost: ")
    deadline = time.monotonic() + 10
    while job.run.status == "running" and time.monotonic() < deadline:  # its process notices that its parent is gone
        time.sleep(0.1)
    assert job.run.status == "interrupted"
    assert len(job.run.manifest["attempts"]) == 1


@pytest.mark.slow
def test_a_run_that_is_being_computed_is_waited_for(cluster, prepared):
    busy, other = jobs = jobs_of([prepared("busy"), prepared("other", "budget.tokens=640")])
    engine = Ray(workers=2)
    with busy.run.lock(lambda _: None):
        for job in jobs:
            engine.submit(job)
        wait_for(engine, other)
        assert (busy.status, other.status) == ("waiting", "finished")
    wait_for(engine, busy)
    assert busy.status == "finished"


@pytest.mark.slow
def test_more_than_any_machine_has_is_refused(cluster):
    with pytest.raises(UserError, match="no machine of the cluster has room for one run of cpus=10000"):
        Ray(cpus=10_000)
