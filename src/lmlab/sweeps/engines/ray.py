"""Execution on a Ray cluster: each run is a task, and Ray selects a machine with room for it.

The machines share the folder of outputs. A task returns nothing; the outcome of its run is in the run
directory.
"""

import logging
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lmlab.errors import Interrupted, RunFailed, UserError, check_least
from lmlab.processes.signals import stopped_by_signals
from lmlab.processes.supervisor import execute
from lmlab.runs import trust
from lmlab.runs.run import Run
from lmlab.surroundings import tolerate_encodings
from lmlab.sweeps.engines.engine import Engine, check_memory
from lmlab.sweeps.sweep import Job

CARRIED = ("WANDB_", "HF_", "LMLAB_")
"""Prefixes of environment variables that are passed on to the machine of a run."""


class Ray(Engine):
    """Executes runs as tasks of a Ray cluster.

    A task that is lost with its process or machine is resubmitted, at most ``execution.restarts`` times, and its run
    resumes from its last checkpoint. A run that another process is computing is submitted when that has ended.

    Args:
        address: ``None``: a cluster of this machine alone, which ends with this process; ``auto``: the cluster that
            includes this machine; or a remote one, as ``ray://host:10001``.
        cpus: CPU cores reserved for each run.
        gpus: GPUs for each run, which sees no others; below 1: a fraction of one.
        memory: gigabytes reserved for each run; ``None``: no reservation.
        workers: maximum number of simultaneous runs; ``None``: as many as the cluster has room for.

    Raises:
        UserError: Ray is missing or cannot be reached, or no machine has room for a run.
    """

    elsewhere = True

    def __init__(
        self,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0,
        memory: float | None = None,
        workers: int | None = None,
    ) -> None:
        check_least(1, "hydra.launcher.", cpus=cpus, workers=workers)
        if not (gpus == 0 or 1e-4 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())):  # Ray counts in 1e-4
            raise UserError(f"hydra.launcher.gpus={gpus}: expected a whole number, or a fraction of one GPU")
        check_memory(memory)
        self._ray = connect(address)
        self._needs = {"CPU": float(cpus), "GPU": float(gpus), "memory": (memory or 0) * 1e9}
        self._workers = workers
        if self._room() < 1 and (workers is None or address is None):  # other clusters may grow while tasks wait
            request = f"cpus={cpus}, gpus={gpus}, memory={memory}"
            raise UserError(f"hydra.launcher: no machine of the cluster has room for one run of {request}")
        task = {"num_cpus": cpus, "num_gpus": gpus, "memory": int(self._needs["memory"]) or None, "max_retries": 0}
        self._work = self._ray.remote(**task)(work)
        self._environment = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
        if gpus == 0:
            self._environment["CUDA_VISIBLE_DEVICES"] = ""
        self._waiting: list[Job] = []
        self._withdrawn: list[Job] = []
        self._running: dict[int, tuple[Job, Any]] = {}
        self._stop_reasons: dict[int, str] = {}
        self._lost: Counter[int] = Counter()

    def _room(self) -> int:
        """Return the number of runs for which the machines have room if they do nothing else."""
        there = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        needs = {kind: amount for kind, amount in self._needs.items() if amount}
        return sum(min(int(has.get(kind, 0) / amount) for kind, amount in needs.items()) for has in there)

    @property
    def free(self) -> int:
        return (self._workers or self._room()) - len(self._waiting) - len(self._running)

    def submit(self, job: Job) -> None:
        self._lost[job.number] = 0
        self._waiting.append(job)
        self._start()

    def _start(self) -> list[Job]:
        """Submit waiting jobs that are not being computed; return jobs whose run another process has finished."""
        done = []
        for job in list(self._waiting):
            if job.run.is_finished:
                self._waiting.remove(job)
                job.end("finished")
                done.append(job)
            elif not job.run.is_locked():
                self._waiting.remove(job)
                path, voucher = str(job.run.path.absolute()), trust.voucher(job.run)
                task = self._work.remote(path, str(Path.cwd()), self._environment, voucher)
                self._running[job.number] = job, task
        return done

    def poll(self, seconds: float) -> list[Job]:
        deadline = time.monotonic() + seconds
        while not (over := self._over()) and not self._withdrawn and time.monotonic() < deadline:
            time.sleep(0.05)  # Ray's own wait loses the signal that interrupted it
        ended, self._withdrawn = self._withdrawn, []
        for number, (job, task) in list(self._running.items()):
            if task not in over:
                self._watch(job)
                continue
            del self._running[number]
            if self._end(job, task):
                ended.append(job)
            else:
                job.status = "waiting"
                self._waiting.append(job)
        return ended + self._start()

    def _over(self) -> list[Any]:
        tasks = [task for _, task in self._running.values()]
        return list(self._ray.wait(tasks, num_returns=len(tasks), timeout=0)[0]) if tasks else []

    def _watch(self, job: Job) -> None:
        """Update the status and machine of a job that has started."""
        if job.status == "waiting" and job.run.exists and job.run.status == "running":
            job.status, job.where = "running", job.run.manifest["attempts"][-1]["host"]

    def _end(self, job: Job, task: Any) -> bool:
        """Set the status of a job whose task is over; return ``False`` if it has to be resubmitted."""
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        stop_reason = self._stop_reasons.pop(job.number, None)
        if job.run.is_finished:  # regardless of later errors of the task
            job.end("finished")
            return True
        if stop_reason is not None:  # regardless of how the task ended
            job.end("interrupted", stop_reason)
            return True
        try:
            self._ray.get(task)
        except TaskCancelledError:  # preempted
            return False
        except RayTaskError as error:
            cause = error.cause
            job.end_with(cause if isinstance(cause, (Interrupted, RunFailed, UserError)) else RunFailed(_line(cause)))
        except RayError as error:  # the worker is gone
            self._lost[job.number] += 1
            if self._lost[job.number] <= job.run.experiment.execution.restarts:
                print(f"{job.run.path.name}: {_line(error)}; it goes on from its last checkpoint", file=sys.stderr)
                return False
            job.end("failed", f"its task was lost: {_line(error)}")
        else:
            job.end("finished")
        return True

    def stop(self, job: Job, why: str) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            job.end("interrupted", why)
            self._withdrawn.append(job)
        elif job.number in self._running and job.number not in self._stop_reasons:
            self._stop_reasons[job.number] = why
            self._ray.cancel(self._running[job.number][1])

    def kill(self) -> None:
        for _, task in self._running.values():
            self._ray.cancel(task, force=True)


def connect(address: str | None) -> Any:
    """Return the module ``ray``, connected to a cluster; it disconnects, and ends a local cluster, with this process.

    Raises:
        UserError: Ray is missing, or there is no cluster at ``address``.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("hydra/launcher=ray: Ray is missing (pip install 'lmlab[ray]')") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():  # by an earlier launch with another sweeper
        return ray
    own: dict[str, Any] = (
        {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False} if address is None else {}
    )
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as error:
        raise UserError(f"hydra.launcher.address={address}: no Ray cluster there ({_line(error)})") from error
    return ray


def work(path: str, folder: str, environment: dict[str, str], voucher: str | None = None) -> None:
    """Run a task: supervise the run of the directory ``path``, with working folder ``folder``.

    Ray cancels a task with SIGINT, in the main thread.

    Args:
        voucher: see :func:`lmlab.runs.trust.voucher`.
    """
    trust.accept(voucher)
    tolerate_encodings()
    os.environ.update(environment)
    run = Run(Path(path))
    if not run.exists:
        raise RunFailed(f"{path}: not there on {os.uname().nodename}; the cluster's machines must share paths.outputs")
    os.chdir(folder)
    vars(sys.modules["__main__"]).pop("__file__", None)  # otherwise the run's process would start with Ray's own script
    before = signal.signal(signal.SIGINT, _stop)
    try:
        with stopped_by_signals():
            execute(run, lambda _: None)
    except KeyboardInterrupt:
        if run.is_locked():  # stopped while the run's process was starting; it ends with this one
            os._exit(1)
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt("stopped by the sweep")


def _line(error: BaseException) -> str:
    """Return the first line of an error, with its type."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
