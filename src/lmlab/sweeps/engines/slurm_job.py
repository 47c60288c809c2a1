"""A run as a job of a SLURM cluster: its state in SLURM, and its execution there.

A job gets SIGTERM when it is cancelled, preempted, requeued by someone, or over its time limit, and SIGUSR2 before
the limit. In all cases its run has written its state by the time :func:`work` learns of it. The job's state tells
SLURM's next action: RUNNING means that nothing is decided, so the job requeues itself, because a job that ends by
itself within its grace period counts as complete. Any other state means that SLURM has decided.
"""

import os
import subprocess
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from lmlab.errors import Interrupted, RunFailed
from lmlab.processes.signals import stopped_by_signals
from lmlab.processes.supervisor import execute
from lmlab.runs import checkpoints, trust
from lmlab.runs.files import read_json, write_json
from lmlab.runs.run import Run
from lmlab.surroundings import tolerate_encodings
from lmlab.sweeps.search.search import Outcome
from lmlab.sweeps.sweep import Job

GONE = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
GONE |= {"REVOKED", "TIMEOUT"}
"""States of a job that does not continue by itself."""

TAKEN_AWAY = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REVOKED"}
"""States of a job that has lost its machine; it is submitted again if it may be requeued."""

IN_VAIN = 3
"""Consecutive jobs without a new checkpoint after which none is requeued: their time limit is shorter than a start."""


def folder(run: Run) -> Path:
    """Return the folder of the jobs' scripts and output: beside the runs, which the machines of the cluster share."""
    return run.path.parents[1] / "slurm"


def _file(run: Run) -> Path:
    return run.path / "slurm.json"


def write_record(run: Run, content: dict[str, Any]) -> None:
    """Replace the record of a run's newest job."""
    write_json(_file(run), content)


def record(run: Run) -> dict[str, Any]:
    """Return the newest job of a run: its id and name, and the reason to stop it, if any."""
    try:
        return dict(read_json(_file(run)))
    except FileNotFoundError:
        return {"job": "", "name": "", "stop": None}


def offer(runs: list[Run], parameters: dict[str, Any]) -> list[str] | str:
    """Submit a job for each run, as one array.

    Args:
        parameters: of ``submitit.SlurmExecutor``.

    Returns:
        Their ids, or SLURM's message if it accepts none of them.
    """
    import submitit

    executor = submitit.SlurmExecutor(place := folder(runs[0]))
    executor.update_parameters(**parameters, srun_args=["--kill-on-bad-exit=1"])
    before = set(place.iterdir()) if place.exists() else set()
    try:
        with redirect_stderr(StringIO()), executor.batch():  # submitit repeats the output of sbatch
            submitted = [executor.submit(work, str(run.path), trust.voucher(run)) for run in runs]
    except submitit.core.utils.FailedJobError as error:
        own = [str(run.path).encode() for run in runs] + [f"--job-name={parameters['job_name']}\n".encode()]
        for path in set(place.iterdir()) - before:  # other sweeps may write here too
            if path.suffix in (".pkl", ".sh") and any(word in path.read_bytes() for word in own):
                path.unlink()
        return str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ")
    return [one.job_id for one in submitted]


def scancel(*words: str) -> None:
    """Run the command ``scancel``."""
    subprocess.run(["scancel", *words], capture_output=True, timeout=120, check=False)  # a missing job is no error


def states() -> dict[str, tuple[str, str]] | None:
    """Return state and name of this user's jobs that SLURM still has, by id, without the cluster's accounting."""
    command = ["squeue", "--me", "--all", "--array", "--noheader", "--states=all", "--format=%i %T %j"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows}


@dataclass
class Submitted:
    """A job submitted to SLURM.

    Attributes:
        id: SLURM's id of one element of an array: ``12_3``.
        attempts: number of attempts of its run before it was submitted.
        gone: monotonic time at which it was first missing.
        stop_reason: reason of a stop request.
        cancelled: whether SLURM was asked to cancel it.
    """

    job: Job
    id: str
    attempts: int
    gone: float | None = None
    stop_reason: str | None = None
    cancelled: bool = False

    def outcome(self, state: str) -> tuple[Outcome, str]:
        """Return status and error of a job that is gone and whose run is not finished."""
        run = self.job.run
        manifest = run.manifest if run.exists else {"attempts": []}
        if self.stop_reason is not None:
            return "interrupted", self.stop_reason
        if len(manifest["attempts"]) <= self.attempts:
            log = folder(run) / f"{self.id}_0_log.err"
            return "failed", f"{self.job.where} ended before its run began: {state} (details: {log})"
        last = manifest["attempts"][-1]
        if last.get("status") == "failed":
            return "failed", f"{last['error']} (details: {run.log})"
        return "interrupted", last.get("error") or f"{self.job.where} was ended: {state}"


def work(path: str, voucher: str | None = None) -> None:
    """Execute a job in each of its tasks: the first supervises the run of the directory ``path``.

    Args:
        voucher: see :func:`lmlab.runs.trust.voucher`.
    """
    trust.accept(voucher)
    tolerate_encodings()
    run = Run(Path(path))
    first = os.environ.get("SLURM_PROCID", "0") == "0"
    try:
        if _must_stop(run):
            return
        before = _newest_step(run)
        with stopped_by_signals():  # instead of submitit's own handlers, which were set before this function is called
            execute(run, lambda _: None)
    except (Interrupted, KeyboardInterrupt) as interrupt:
        if not first:  # the first task decides
            return
        in_vain = 0 if _newest_step(run) > before else record(run).get("in_vain", 0) + 1
        write_record(run, record(run) | {"in_vain": in_vain})
        if in_vain == IN_VAIN:
            raise RunFailed(
                f"{interrupt}; {IN_VAIN} jobs in a row made no new checkpoint: give them more time "
                "(hydra.launcher.time)"
            ) from None
        if _must_stop(run) or not run.experiment.execution.requeue or not queue_again(os.environ["SLURM_JOB_ID"]):
            raise RunFailed(str(interrupt)) from None
        while True:  # SLURM ends this process; ending first might count as a failure
            time.sleep(1)


def _newest_step(run: Run) -> int:
    return max(checkpoints.saved(run.checkpoints), default=0)


def _must_stop(run: Run) -> bool:
    """Return whether this job was asked to stop, so that it must not start or be requeued."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    own = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    newest = record(run)
    return newest["job"] == own and newest["stop"] is not None


def queue_again(job: str) -> bool:
    """Requeue a job about which SLURM has decided nothing; return whether SLURM accepts that."""
    shown = subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True, timeout=60).stdout
    if "JobState=RUNNING" not in shown.split():
        return False
    return subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=60).returncode == 0
