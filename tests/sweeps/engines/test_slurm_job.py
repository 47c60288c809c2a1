"""What a job does when it is told to stop, without a cluster: the end-to-end tests have one."""

import pytest
from experiments import SECTIONS

from lmlab.errors import Interrupted, RunFailed
from lmlab.runs.run import Run
from lmlab.sweeps.engines import slurm_job


class QueuedAgain(Exception):
    """SLURM would end the process now."""


@pytest.fixture
def job(tmp_path, monkeypatch):
    run = Run(tmp_path / "runs" / "lstm-text-abc")
    run.create(SECTIONS | {"name": "lstm-text", "seed": 1, "tags": [], "model": {}}, "abc")
    steps: list[int] = []

    def execute(run, waiting):
        if step := steps.pop(0):
            (run.checkpoints / f"step-{step:08d}").mkdir(parents=True)
        raise Interrupted("told to stop by SIGUSR2")

    def sleep(seconds):
        raise QueuedAgain

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(slurm_job, "execute", execute)
    monkeypatch.setattr(slurm_job, "queue_again", lambda job: True)
    monkeypatch.setattr(slurm_job.time, "sleep", sleep)

    def ends(*done: int) -> list[str]:
        """How jobs that follow each other end, each of which comes to a checkpoint of that step (0: to none)."""
        found = []
        for step in done:
            steps.append(step)
            try:
                slurm_job.work(str(run.path))
            except QueuedAgain:
                found.append("queued again")
            except RunFailed as error:
                found.append(str(error))
        return found

    return ends


def test_a_job_whose_time_is_shorter_than_its_start_is_not_queued_again_for_ever(job):
    first, second, last = job(0, 0, 0)
    assert first == second == "queued again"
    assert last == (
        "told to stop by SIGUSR2; 3 jobs in a row made no new checkpoint: give them more time (hydra.launcher.time)"
    )


def test_a_job_that_comes_further_each_time_is_queued_again_as_often_as_it_takes(job):
    assert job(10, 0, 20, 0, 30, 0, 40) == ["queued again"] * 7
