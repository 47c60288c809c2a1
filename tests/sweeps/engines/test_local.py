import json
import os
import resource

import pytest

from lmlab.commands.train import create
from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.processes.spawn import EVERYTHING
from lmlab.runs import lock
from lmlab.runs.lookup import directory_for
from lmlab.runs.run import Run
from lmlab.sweeps.engines import local
from lmlab.sweeps.engines.local import Local
from lmlab.sweeps.sweep import Job


class Pretending:
    """A supervisor without processes: over once the test says so."""

    all: list["Pretending"] = []

    def __init__(self, run, lock, share):
        if not run.exists:
            raise UserError(f"{run.path}: config.yaml cannot be read (FileNotFoundError)")
        self.run, self.lock, self.share = run, lock, share
        self.over, self.error, self.told, self.killed = False, None, None, False
        self.sentinel, self._end = os.pipe()
        self.all.append(self)

    def poll(self):
        if isinstance(self.over, Exception):
            raise self.over
        return self.over

    def stop(self, why):
        self.told = why

    def kill(self):
        self.killed = True


@pytest.fixture
def machine(monkeypatch):
    """One of five cores, three GPUs and 64 GB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 1, 2, 3, 5})
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 64 * 10**9 // 4096)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-8a,6")


@pytest.fixture
def jobs(prepare):
    jobs = []
    for number in range(4):
        job = Job(number, [str(number)])
        job.path = str(prepare(job).path)
        jobs.append(job)
    return jobs


@pytest.fixture
def pretend(monkeypatch):
    monkeypatch.setattr(local, "Supervisor", Pretending)
    Pretending.all = []
    return Pretending.all


def shares(**options):
    return [tuple(share[:3]) for share in Local(**options)._free]


def test_a_machine_is_cut_into_shares_that_have_nothing_in_common(machine):
    assert shares() == [((1, 2), None, None), ((3, 5), None, None)]
    assert shares(workers=1) == [(None, None, None)], "one run at a time has all"
    assert [share[0] for share in shares(workers=7)] == [(1,), (2,), (3,), (5,), (7,), (1,), (2,)], (
        "but not less than one"
    )
    assert shares(cores=2) == [((1, 2), None, None), ((3, 5), None, None)]
    assert shares(cores=1, memory=20) == [((core,), None, 20 * 10**9) for core in (1, 2, 3)]
    assert shares(gpus=1) == [((1,), ("4",), None), ((2,), ("GPU-8a",), None), ((3,), ("6",), None)]
    assert shares(gpus=2) == [(None, ("4", "GPU-8a"), None)]
    assert shares(gpus=1, cores=2) == [((1, 2), ("4",), None), ((3, 5), ("GPU-8a",), None)]
    assert shares(workers=2, cores=1, gpus=1) == [((1,), ("4",), None), ((2,), ("GPU-8a",), None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, r"hydra.launcher.workers=0: expected at least 1"),
        ({"cores": -1}, r"hydra.launcher.cores=-1: expected at least 1"),
        ({"memory": 0}, r"hydra.launcher.memory=0: expected gigabytes above 0"),
        ({"memory": float("nan")}, r"hydra.launcher.memory=nan: expected gigabytes above 0"),
        ({"cores": 6}, r"hydra.launcher.cores=6: this machine has 5 cores, enough for 0 runs at a time but not for 1"),
        ({"cores": 2, "workers": 3}, r"cores=2: this machine has 5 cores, enough for 2 runs at a time but not for 3"),
        ({"memory": 40, "workers": 2}, r"memory=40: this machine has 64.0 GB, enough for 1 runs"),
        ({"gpus": 4}, r"gpus=4: this machine has 3 GPUs, enough for 0 runs"),
    ],
)
def test_shares_that_there_are_not(options, message, machine):
    with pytest.raises(UserError, match=message):
        Local(**options)


def test_as_many_run_at_a_time_as_there_are_workers(jobs, pretend):
    engine = Local(workers=2)
    for job in jobs[:2]:
        assert engine.free
        engine.submit(job)
    assert engine.free == 0 and [job.status for job in jobs[:2]] == ["running", "running"]
    assert engine.poll(0) == []
    pretend[1].over, pretend[1].error = True, RunFailed("rank 0 died")
    assert engine.poll(0) == [jobs[1]]
    assert (jobs[1].status, jobs[1].error) == ("failed", "rank 0 died")
    assert engine.free == 1 and not jobs[1].run.is_locked() and jobs[0].run.is_locked()
    pretend[0].over, pretend[0].error = True, Interrupted("told to stop")
    assert engine.poll(0) == [jobs[0]] and jobs[0].status == "interrupted"
    assert engine.free == 2


def test_a_run_that_somebody_else_computes_takes_no_worker(jobs, pretend):
    theirs = lock.take(jobs[0].run.path)
    engine = Local(workers=1)
    engine.submit(jobs[0])
    assert jobs[0].status == "waiting" and engine.free == 1 and not pretend
    engine.submit(jobs[1])
    assert jobs[1].status == "running" and engine.free == 0
    jobs[0].run.update(status="finished")
    assert engine.poll(0) == [], "it is finished when whoever finished it says so"
    theirs.release()
    assert engine.poll(0) == [jobs[0]] and jobs[0].status == "finished"
    assert len(pretend) == 1


def test_what_somebody_else_did_not_finish_is_gone_on_with(jobs, pretend):
    theirs = lock.take(jobs[0].run.path)
    engine = Local(workers=1)
    engine.submit(jobs[0])
    engine.submit(jobs[1])
    theirs.release()
    assert engine.poll(0) == [] and jobs[0].status == "waiting", "no worker is free"
    pretend[0].over = True
    assert engine.poll(0) == [jobs[1]] and jobs[1].status == "finished"
    assert jobs[0].status == "running" and engine.free == 0 and pretend[1].run == jobs[0].run


def test_a_job_that_waits_for_somebody_else_stops_at_once(jobs, pretend):
    theirs = lock.take(jobs[0].run.path)
    engine = Local(workers=1)
    engine.submit(jobs[0])
    engine.submit(jobs[1])
    engine.stop(jobs[0], "enough")
    engine.stop(jobs[1], "enough")
    assert (jobs[0].status, jobs[0].error) == ("interrupted", "enough") and pretend[0].told == "enough"
    engine.kill()
    assert pretend[0].killed
    theirs.release()
    assert engine.poll(0) == [jobs[0]] and engine.poll(0) == [] and len(pretend) == 1


def test_a_run_that_somebody_else_finished_before_it_was_submitted_ends(jobs, pretend):
    engine = Local(workers=1)
    jobs[0].run.update(status="finished")  # after it was prepared
    engine.submit(jobs[0])
    assert engine.free == 1 and not pretend and not jobs[0].run.is_locked()
    assert engine.poll(0) == [jobs[0]]
    assert jobs[0].status == "finished" and engine.poll(0) == []


def test_a_run_whose_directory_is_gone_fails_alone(jobs, pretend):
    theirs = lock.take(jobs[0].run.path)
    engine = Local(workers=1)
    engine.submit(jobs[0])
    jobs[0].run.remove()  # as whoever had it refused does
    theirs.release()
    assert engine.poll(0) == [jobs[0]] and jobs[0].status == "failed" and "is gone" in jobs[0].error
    assert engine.free == 1
    engine.submit(jobs[1])
    pretend[0].over = OSError(28, "No space left on device", str(jobs[1].run.path / "run.json"))
    assert engine.poll(0) == [jobs[1]] and jobs[1].status == "failed"
    assert "No space left on device" in jobs[1].error and "make room" in jobs[1].error
    assert engine.free == 1 and not jobs[1].run.is_locked()


SAYS = """
import json, os, resource
import pytorch_lightning as pl

class Says(pl.Callback):
    '''Writes down what the process may use, and takes as many gigabytes as it is told.'''

    def __init__(self, takes: float = 0.0):
        self.takes = takes

    def on_train_start(self, trainer, pl_module):
        found = {
            "cores": sorted(os.sched_getaffinity(0)),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "memory": resource.getrlimit(resource.RLIMIT_DATA)[0],
        }
        with open("said-" + str(trainer.lightning_module.seed), "w") as file:
            json.dump(found, file)
        bytearray(int(self.takes * 1e9))
"""


@pytest.mark.slow
def test_a_run_has_its_share_and_no_more(compose, small_task, tmp_path, monkeypatch):
    (tmp_path / "saying.py").write_text(SAYS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    cores = sorted(os.sched_getaffinity(0))
    engine = Local(cores=1, memory=1.5, gpus=1, workers=2) if len(cores) > 1 else Local(memory=1.5, gpus=1, workers=2)
    jobs = []
    for number, takes in enumerate((0.1, 3.0)):
        config = compose(
            *small_task, "logger=[]", "+callbacks.says._target_=saying.Says", f"+callbacks.says.takes={takes}",
            f"seed={number}", "execution.restarts=0",
        )  # fmt: skip
        run: Run = directory_for(config)
        create(run, config, data={})
        jobs.append(Job(number, [], path=str(run.path)))
        engine.submit(jobs[-1])
    ended = []
    while len(ended) < 2:
        ended += engine.poll(0.5)
    said = [json.loads((tmp_path / f"said-{number}").read_text()) for number in (0, 1)]
    assert [one["gpus"] for one in said] == ["3", "5"]
    assert [one["memory"] for one in said] == [1_500_000_000] * 2
    if len(cores) > 1:
        assert [one["cores"] for one in said] == [cores[:1], cores[1:2]]
    assert jobs[0].status == "finished"
    assert jobs[1].status == "failed" and jobs[1].error.startswith("MemoryError")
    # None of it is this process's, or any other run's.
    assert sorted(os.sched_getaffinity(0)) == cores
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 1_500_000_000
    assert EVERYTHING.memory is None
