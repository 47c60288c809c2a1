"""Execution on this machine: one run at a time, or several with equal shares of cores, memory and GPUs."""

import os
from multiprocessing import connection

from lmlab.errors import RunFailed, UserError, check_least
from lmlab.processes.signals import undisturbed
from lmlab.processes.spawn import Share
from lmlab.processes.supervisor import Supervisor
from lmlab.runs import disk
from lmlab.sweeps.engines.engine import MOST, Engine, check_memory
from lmlab.sweeps.sweep import Job


class Local(Engine):
    """Executes runs on this machine, at most ``workers`` at a time.

    A run that another process is computing occupies no worker and is checked again until that process has ended.

    Args:
        workers: simultaneous runs; ``None``: as many as fit with the shares below.
        cores: CPU cores for each run; ``None``: all for one run at a time, else an equal share. Threads of several runs
            on the same cores block each other: on two cores, two small runs took over 40 times as long.
        memory: gigabytes for each process of a run; ``None``: no limit.
        gpus: GPUs for each run; ``None``: all GPUs for all runs.

    Raises:
        UserError: the machine has less than requested.
    """

    def __init__(
        self,
        workers: int | None = None,
        cores: int | None = None,
        memory: float | None = None,
        gpus: int | None = None,
    ) -> None:
        check_least(1, "hydra.launcher.", workers=workers, cores=cores, gpus=gpus)
        if workers is not None and workers > MOST:
            raise UserError(f"hydra.launcher.workers={workers}: expected 1 to {MOST}")
        check_memory(memory)
        shares = _shares(workers, cores, memory, gpus)
        self.shows_runs = len(shares) > 1
        self._free = [share._replace(quiet=self.shows_runs) for share in shares]
        self._running: dict[int, tuple[Job, Supervisor, Share]] = {}
        self._waiting: list[Job] = []
        self._ended: list[Job] = []

    @property
    def free(self) -> int:
        return len(self._free)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._ended += self._start()

    @undisturbed()
    def _start(self) -> list[Job]:
        """Start waiting jobs while there is room; return jobs whose run another process has finished."""
        done = []
        for job in list(self._waiting):
            if not self._free and not job.run.is_finished:
                continue
            if (lock := job.run.try_lock()) is None:
                continue
            try:
                if job.run.is_finished:
                    job.end("finished")
                else:
                    supervisor = Supervisor(job.run, lock, self._free[0])
                    self._running[job.number] = job, supervisor, self._free.pop(0)
                    job.status = "running"
            except (OSError, UserError) as error:  # its directory is missing or not writable
                job.end_with(_failure(error, job))
            self._waiting.remove(job)
            if job.status != "running":
                lock.release()
                done.append(job)
        return done

    def poll(self, seconds: float) -> list[Job]:
        connection.wait([supervisor.sentinel for _, supervisor, _ in self._running.values()], timeout=seconds)
        ended, self._ended = self._ended + self._collect() + self._start(), []
        return ended

    @undisturbed()
    def _collect(self) -> list[Job]:
        ended = []
        for number, (job, supervisor, share) in list(self._running.items()):
            try:
                if not supervisor.poll():
                    continue
                error = supervisor.error
            except (OSError, UserError) as failure:  # the outcome cannot be recorded
                error = _failure(failure, job)
            del self._running[number]
            self._free.append(share)
            supervisor.lock.release()
            job.end_with(error)
            ended.append(job)
        return ended

    def stop(self, job: Job, why: str) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            job.end("interrupted", why)
            self._ended.append(job)
        elif job.number in self._running:
            self._running[job.number][1].stop(why)

    def kill(self) -> None:
        for _, supervisor, _ in self._running.values():
            supervisor.kill()


def _failure(error: Exception, job: Job) -> Exception:
    return RunFailed(disk.reason(error, job.run) or str(error))


def _shares(workers: int | None, cores: int | None, memory: float | None, gpus: int | None) -> list[Share]:
    """Divide this machine into shares, one for each simultaneous run."""
    own_cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    own_gpus = _gpus() if gpus is not None else []
    room = []
    if cores is not None:
        room.append((len(own_cores or ()) // cores, f"cores={cores}", f"{len(own_cores or ())} cores"))
    if memory is not None:
        gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        room.append((int(gigabytes / memory), f"memory={memory}", f"{gigabytes:.1f} GB"))
    if gpus is not None:
        room.append((len(own_gpus) // gpus, f"gpus={gpus}", f"{len(own_gpus)} GPUs"))
    for fitting, option, there in room:
        if fitting < (workers or 1):
            raise UserError(
                f"hydra.launcher.{option}: this machine has {there}, enough for {fitting} runs at a time but not "
                f"for {workers or 1} (hydra.launcher.workers)"
            )
    count = workers or min(MOST, min((fitting for fitting, _, _ in room), default=2))
    each = cores or (max(1, len(own_cores or ()) // count) if count > 1 else None)
    return [
        Share(
            cores=tuple(own_cores[(i * each + j) % len(own_cores)] for j in range(each))
            if each and own_cores
            else None,
            gpus=tuple(own_gpus[i * gpus : (i + 1) * gpus]) if gpus is not None else None,
            memory=None if memory is None else int(memory * 1e9),
        )
        for i in range(count)
    ]


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
