"""Sweeps without training: jobs whose runs are directories, and an engine that computes nothing."""

from collections import deque
from pathlib import Path

import pytest
from synthetic_runs import BY_LOSS

from lmlab.errors import UserError
from lmlab.runs.run import Run
from lmlab.sweeps.engines.engine import Engine
from lmlab.sweeps.search import Proposal
from lmlab.sweeps.search.search import Queue
from lmlab.sweeps.sweep import Job, Sweep

CONFIG = {"name": "a", "seed": 1, "tags": [], "model": {}}


class Pretending(Engine):
    """Ends the oldest job at each poll, as ``outcomes`` says by number; what it is not told of finishes."""

    def __init__(self, workers=2, outcomes=None, during=None):
        self.workers, self.outcomes, self.during = workers, outcomes or {}, during
        self.under_way = deque()
        self.submitted, self.stopped = [], {}
        self.killed = False

    @property
    def free(self):
        return self.workers - len(self.under_way)

    def submit(self, job):
        self.submitted.append(job.number)
        job.status = "running"
        self.under_way.append(job)

    def poll(self, seconds):
        if self.during is not None:
            self.during(self)
        ended = [job for job in self.under_way if job.number in self.stopped]
        if not ended and self.under_way:
            ended = [self.under_way[0]]
        for job in ended:
            self.under_way.remove(job)
            outcome = "interrupted" if job.number in self.stopped else self.outcomes.get(job.number, "finished")
            if outcome == "finished":
                job.run.update(status="finished", metrics={"validation/loss": 9.0 - job.number}, timings={})
            if job.number in self.stopped:
                job.run.update(status="interrupted", attempts=[{"status": "interrupted", "error": "told to stop"}])
            job.end(outcome, self.stopped.get(job.number, None if outcome == "finished" else "it went wrong"))
        return ended

    def stop(self, job, why):
        self.stopped[job.number] = why

    def kill(self):
        self.killed = True


class Seen:
    """A view that remembers what it was shown."""

    def __init__(self):
        self.prepared_jobs, self.ended_jobs, self.same_jobs = [], [], {}
        self.totals, self.to_come = [], []
        self.halts = []

    def prepared(self, job, total, same):
        self.prepared_jobs.append(job.number)
        self.totals.append(total)
        if same is not None:
            self.same_jobs[job.number] = same.number

    def ended(self, job):
        self.ended_jobs.append((job.number, job.status))

    def halted(self, why, under_way):
        self.halts.append((why, under_way))

    def going_on(self, jobs, to_come):
        self.to_come.append((len(jobs), to_come))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """A sweep that this process is at."""
    sweep = Sweep(tmp_path / "sweep")
    sweep.begin(["-m", "x=0,1"], {}, {})
    return sweep


@pytest.fixture
def prepare(tmp_path: Path):
    """Lay out a job's run directory, ``run-<its words>``; the words ``refused`` are refused."""

    def prepared(job: Job) -> Run:
        job.name = " ".join(job.overrides)
        if "refused" in job.overrides:
            raise UserError("x=refused: expected something else")
        run = Run(tmp_path / f"run-{job.name}")
        if not run.exists:
            run.create(CONFIG, job.name, measures=BY_LOSS.to_record())
        return run

    return prepared


@pytest.fixture
def queue():
    """A search that proposes jobs of one word each."""
    return lambda *words: Queue(Proposal(number, [word]) for number, word in enumerate(words))


@pytest.fixture
def pretending() -> type[Pretending]:
    return Pretending


@pytest.fixture
def seen() -> Seen:
    return Seen()
