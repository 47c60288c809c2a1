"""Execution on a SLURM cluster: every run is a job, which survives preemption, requeueing and its own time limit."""

import shutil
import sys
import time as clock
from typing import Any

from lmlab.errors import UserError, check_least
from lmlab.runs.run import Run
from lmlab.sweeps.engines import slurm_job
from lmlab.sweeps.engines.engine import Engine, check_memory
from lmlab.sweeps.engines.slurm_job import Submitted
from lmlab.sweeps.sweep import Job

_AT_ONCE = 1000
"""Maximum number of jobs at a time: the usual limit of clusters for one array."""
_BETWEEN_LOOKS = 3.0
"""Seconds between two checks of the queue and the runs."""
_PATIENCE = 6.0
"""Seconds after which a missing job counts as gone: one that is requeued may be missing for a moment."""
_REFUSED = 60.0
"""Seconds until refused jobs are offered again: until then some of the user's other jobs may have ended."""
_MARGIN = 30.0
"""Seconds added to a run's grace period for the notice before its time limit."""


class Slurm(Engine):
    """Executes runs as jobs of a SLURM cluster; jobs that are submitted together are one array.

    Clusters limit the number of jobs of an array and of a user. If SLURM refuses jobs, half of them are offered, then
    half of that; the rest is offered again later while other jobs are in progress.

    A run that another process is computing, or that has a pending job of an earlier sweep, is waited for. SLURM's nodes
    are machines; ``trainer.nodes`` counts a run's tasks, and one machine may have several.

    Args:
        partition, account, qos, constraint: as ``sbatch`` takes them; ``None``: the cluster's default.
        time: time limit of a job in minutes, after which it is requeued; ``None``: the partition's limit.
        cpus: CPU cores for each task.
        memory: gigabytes on each machine.
        gpus: GPUs for each task.
        tasks_per_node: tasks of a run on one machine.
        workers: simultaneous runs; ``None``: as many as the cluster allows. A search that learns from results needs it.
        notice: seconds before the time limit at which a run is asked to write its state; ``None``: its grace period
            (``execution.grace``) and half a minute.
        extra: further options of ``sbatch`` by their long names; ``true`` for those without a value.

    Raises:
        UserError: submitit or SLURM is missing, or a value is out of range.
    """

    elsewhere = True

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        time: int | None = None,
        cpus: int | None = None,
        memory: float | None = None,
        gpus: int | None = None,
        tasks_per_node: int = 1,
        workers: int | None = None,
        notice: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        numbers = {"time": time, "cpus": cpus, "gpus": gpus, "tasks_per_node": tasks_per_node, "workers": workers}
        check_least(1, "hydra.launcher.", **numbers, notice=notice)
        check_memory(memory)
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise UserError("hydra/launcher=slurm: submitit is missing (pip install 'lmlab[slurm]')") from None
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UserError("hydra/launcher=slurm: sbatch is missing here (use a machine of the cluster)")
        self.at_once = workers or _AT_ONCE
        self.tasks_per_node, self.notice, self.extra = tasks_per_node, notice, extra or {}
        self.parameters: dict[str, Any] = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "time": time,
            "cpus_per_task": cpus,
            "mem": None if memory is None else f"{round(memory * 1000)}M",
            "gpus_per_task": gpus,
            "array_parallelism": self.at_once,
        }
        self._new: list[Job] = []
        self._submitted: list[Submitted] = []
        self._withdrawn: list[Job] = []
        self._states: dict[str, tuple[str, str]] = {}
        self._looked = -_BETWEEN_LOOKS
        self._refused, self._why = -_REFUSED, ""

    @property
    def free(self) -> int:
        return self.at_once - len(self._new) - len(self._submitted)

    def submit(self, job: Job) -> None:
        self._shape(job.run)  # refuses invalid layouts
        self._new.append(job)

    def poll(self, seconds: float) -> list[Job]:
        self._cancel()
        if self._withdrawn:
            withdrawn, self._withdrawn = self._withdrawn, []
            return withdrawn
        clock.sleep(seconds)
        if clock.monotonic() < self._looked + _BETWEEN_LOOKS:
            return []
        self._looked = clock.monotonic()
        states = slurm_job.states()
        if states is None:  # the controller does not answer: keep the last states
            return []
        self._states = states
        return self._end() + self._take_up()

    def stop(self, job: Job, why: str) -> None:
        if job in self._new:
            self._states = self._states or slurm_job.states() or {}
            if (earlier := self._queued(job.run)) is not None:
                self._keep(job, earlier["job"], 0)
            else:
                self._new.remove(job)
                job.end("interrupted", why)
                self._withdrawn.append(job)
        for submitted in self._submitted:
            if submitted.job is job and submitted.stop_reason is None:
                submitted.stop_reason = why
                # So that the job does not requeue itself, nor start if it is requeued.
                slurm_job.write_record(job.run, slurm_job.record(job.run) | {"stop": why})

    def kill(self) -> None:
        if ids := [submitted.id for submitted in self._submitted]:
            slurm_job.scancel("--full", "--signal=KILL", *ids)
            slurm_job.scancel(*ids)

    def _cancel(self) -> None:
        """Cancel jobs that were asked to stop: running ones by a signal, which leaves them their whole grace period."""
        new = [
            submitted for submitted in self._submitted if submitted.stop_reason is not None and not submitted.cancelled
        ]
        if new:
            ids = [submitted.id for submitted in new]
            slurm_job.scancel("--state=PENDING", *ids)
            slurm_job.scancel("--state=RUNNING", "--signal=TERM", *ids)
        for submitted in new:
            submitted.cancelled = True

    def _take_up(self) -> list[Job]:
        """Submit jobs that are not being computed yet; return jobs whose run another process has finished."""
        groups: dict[tuple[Any, ...], list[Job]] = {}
        finished = []
        for job in list(self._new):
            run, earlier = job.run, self._queued(job.run)
            if run.is_finished:
                self._new.remove(job)
                job.end("finished")
                finished.append(job)
            elif earlier is not None and earlier["stop"] is None:
                self._keep(job, earlier["job"], 0)
            elif earlier is None and not run.is_locked():
                groups.setdefault(self._shape(run), []).append(job)
        if clock.monotonic() >= self._refused + _REFUSED:
            for shape, jobs in groups.items():
                self._submit(shape, jobs)
        return finished

    def _queued(self, run: Run) -> dict[str, Any] | None:
        """Return the record of an earlier job of a run that SLURM still has; ``None`` if there is none."""
        record = slurm_job.record(run)
        state, name = self._states.get(record["job"], ("gone", ""))
        return record if state != "gone" and state not in slurm_job.GONE and name == record["name"] else None

    def _shape(self, run: Run) -> tuple[int, int, int, bool]:
        """Return the resources of a run's job that differ between jobs; jobs with equal ones form one array.

        Returns:
            Machines, tasks on each, seconds of notice, and whether it may be requeued.
        """
        experiment = run.experiment
        tasks, settings = experiment.trainer.nodes, experiment.execution
        here = 1 if tasks == 1 else self.tasks_per_node
        if tasks % here:
            raise UserError(f"trainer.nodes={tasks}: not divisible by hydra.launcher.tasks_per_node={here}")
        return tasks // here, here, self.notice or round(settings.grace + _MARGIN), settings.requeue

    def _submit(self, shape: tuple[int, int, int, bool], jobs: list[Job]) -> None:
        """Submit jobs as one array, or as many of them as SLURM accepts.

        Raises:
            UserError: it accepts none, and no job is in progress that could be the reason.
        """
        machines, here, notice, requeue = shape
        all_of_them, name = len(jobs), jobs[0].run.path.name
        parameters = self.parameters | {
            "job_name": name,
            "nodes": machines,
            "ntasks_per_node": here,
            "signal_delay_s": notice,
            "additional_parameters": {("requeue" if requeue else "no-requeue"): True, **self.extra},
        }
        while isinstance(ids := slurm_job.offer([job.run for job in jobs], parameters), str):
            self._refused = clock.monotonic()
            if len(jobs) > 1:
                jobs = jobs[: len(jobs) // 2]
                continue
            if not self._submitted:
                raise UserError(f"hydra/launcher=slurm: SLURM refuses the job: {ids}")
            if ids != self._why:
                message = f"SLURM accepts none of {all_of_them} jobs now ({ids}); retrying every {_REFUSED:.0f} s"
                print(message, file=sys.stderr, flush=True)
            self._why = ids
            return
        for job, job_id in zip(jobs, ids, strict=True):
            slurm_job.write_record(job.run, {"job": job_id, "name": name, "stop": None})
            self._keep(job, job_id, len(job.run.manifest["attempts"]))

    def _keep(self, job: Job, slurm_id: str, attempts: int) -> None:
        self._new.remove(job)
        job.where = f"slurm job {slurm_id}"
        self._submitted.append(Submitted(job, slurm_id, attempts))

    def _end(self) -> list[Job]:
        """Return the jobs that have ended, and update the status of the others."""
        ended = []
        for submitted in list(self._submitted):
            job = submitted.job
            state, _ = self._states.get(submitted.id, ("gone", ""))
            finished = job.run.is_finished
            if state != "gone" and state not in slurm_job.GONE and not finished:
                submitted.gone = None
                job.status = "waiting" if state in ("PENDING", "CONFIGURING", "REQUEUE_HOLD") else "running"
                continue
            submitted.gone = submitted.gone or clock.monotonic()
            if not finished and clock.monotonic() < submitted.gone + _PATIENCE:
                continue
            self._submitted.remove(submitted)
            if (
                state in slurm_job.TAKEN_AWAY
                and submitted.stop_reason is None
                and not finished
                and self._shape(job.run)[3]
            ):
                job.status, job.where = "waiting", None
                self._new.append(job)
                continue
            job.end("finished") if finished else job.end(*submitted.outcome(state))
            ended.append(job)
        return ended
