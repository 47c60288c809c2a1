"""Supervise a run in processes of its own, which read only the run directory.

No process recomposes a configuration, so overrides, environment and state of other jobs cannot affect it.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.processes import stacks
from lmlab.processes.layout import ranks_of
from lmlab.processes.other_nodes import follow
from lmlab.processes.signals import undisturbed
from lmlab.processes.spawn import EVERYTHING, Processes, Share
from lmlab.runs import disk, trust
from lmlab.runs.files import clear_leftovers, read_json
from lmlab.runs.lock import RunLock
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run, now


class Supervisor:
    """Supervises a run: starts its processes, restarts them after a fault, forwards stop requests, records the end.

    Args:
        lock: the held lock of the run.
        share: share of this machine that it may use.
    """

    def __init__(self, run: Run, lock: RunLock, share: Share = EVERYTHING) -> None:
        trust.check(run, f"lmlab reproduce run={run.id} trust=true recomputes it")
        self.run = run
        self.lock = lock
        self.share = share
        self.settings = run.experiment.execution
        self.faults = 0
        self.error: Exception | None = None
        """The error with which the run ended; ``None`` if it finished."""
        self._stop_reason: str | None = None
        self._deadline = math.inf
        self._processes = self._start()

    @property
    def sentinel(self) -> int:
        """File descriptor that becomes ready when the processes have ended; wait for it before :meth:`poll`."""
        return self._processes.sentinel

    @undisturbed()
    def poll(self) -> bool:
        """Return whether the run is over; restart it after a fault, kill it if it does not stop in time."""
        code = self._processes.exitcode
        if code is None:
            if time.monotonic() > self._deadline or self.lock.lost:
                self._processes.send(signal.SIGKILL)
            return False
        self._processes.close()
        if self.lock.lost:  # another machine owns the directory now
            self.error = RunFailed(f"{self.run.path}: taken over by another machine while this one was disconnected")
            return True
        for folder in (self.run.path, self.run.checkpoints):
            clear_leftovers(folder)
        self.error = None
        if self.run.manifest["status"] == "finished":  # complete, even if a process failed after that
            self._end_attempt("finished", None)
            return True
        self.error, restart = self._why(code)
        if restart and self._stop_reason is None:
            self._processes = self._start()
            return False
        return True

    def stop(self, why: str) -> None:
        """Ask the run to write its state and end; it is killed after its grace period."""
        if self._stop_reason is None:
            self._stop_reason = why
            self._deadline = time.monotonic() + self.settings.grace
            self._processes.send(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the run at once; its last checkpoint remains."""
        self._deadline = -math.inf

    def _start(self) -> Processes:
        run, trainer = self.run, self.run.experiment.trainer
        run.error.unlink(missing_ok=True)
        stacks.clear(run)
        ranks = ranks_of(trainer, self.settings)._replace(attempt=len(run.manifest["attempts"]) + 1)
        attempt: dict[str, Any] = {
            "started": now(),
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "processes": ranks.here * ranks.nodes,
            "code": code_fingerprint(run.config),
        }
        if ranks.nodes > 1:
            attempt["rendezvous"] = ranks.rendezvous
        run.update(lambda manifest: manifest["attempts"].append(attempt), status="running")
        return Processes(run, ranks, self.lock.fileno(), self.share)

    def _why(self, code: int) -> tuple[Exception, bool]:
        """Record why the attempt ended; return the error to raise, and whether to resume from the last checkpoint."""
        run = self.run
        if run.error.exists():
            reason = read_json(run.error)
            kind, message = reason["kind"], reason["message"]
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            kind, message = "Fault", f"a process of the run ended: {how}"
        if (hung := stacks.hung(run)) is not None:
            kind, message = "Fault", hung
        if self._stop_reason is not None and kind in ("Interrupted", "Fault"):
            kind, message = "Interrupted", self._stop_reason
        status = "interrupted" if kind == "Interrupted" else "failed"
        self._end_attempt(status, message)
        if kind == "Interrupted":
            return Interrupted(message), False
        if kind == "UserError":
            if len(run.manifest["attempts"]) == 1 and not run.checkpoints.exists():
                run.remove()  # a run that cannot be trained leaves no directory
            return UserError(message), False
        self.faults += kind == "Fault"
        restart = kind == "Restart" or (kind == "Fault" and self.faults <= self.settings.restarts)
        if restart and kind == "Fault":  # the run reports restarts that it requests itself
            print(f"{run.path.name}: {message}; it goes on from its last checkpoint", file=sys.stderr, flush=True)
        return RunFailed(f"{message} (details: {run.log})"), restart

    def _end_attempt(self, status: str, error: str | None) -> None:
        def change(manifest: dict[str, Any]) -> None:
            manifest["status"] = status
            manifest["attempts"][-1] |= {"ended": now(), "status": status, "error": error}

        self.run.update(change)


def execute(run: Run, waiting: Callable[[str], None]) -> None:
    """Train ``run`` to its end in its own processes, unless it is finished by the time its lock is free.

    In tasks of a SLURM job other than the first, run as another node of the run.

    Args:
        waiting: called once with a description of the lock's holder, if the lock is held.

    Raises:
        UserError: the configuration of the run was refused.
        RunFailed: a process failed or was killed, and no restarts are left.
        Interrupted: the run was stopped from outside; it can be resumed from its saved state.
        KeyboardInterrupt: the user, or a signal to this process, stopped it.
    """
    experiment = run.experiment
    ranks = ranks_of(experiment.trainer, experiment.execution)
    if ranks.node > 0:
        follow(run, ranks, experiment.execution.grace)
        return
    try:
        with run.lock(waiting) as lock:
            ended = _see_through(run, lock) if not run.is_finished else None
    except (OSError, UserError) as error:  # the run directory cannot be read or written
        if (line := disk.reason(error, run)) is None:
            raise
        raise RunFailed(line) from error
    if ended is not None:
        raise ended


def _see_through(run: Run, lock: RunLock) -> BaseException | None:
    """Supervise the run; return the error with which it ended, or ``None``."""
    stopped: KeyboardInterrupt | None = None
    supervisor: Supervisor | None = None
    while True:
        try:
            if supervisor is None:
                with undisturbed():
                    supervisor = Supervisor(run, lock)
            connection.wait([supervisor.sentinel], timeout=0.5)
            if supervisor.poll():
                break
        except KeyboardInterrupt as error:
            if supervisor is None:
                raise
            if stopped is not None:
                supervisor.kill()
            stopped = stopped or error
            supervisor.stop(str(error) or "stopped from the keyboard")
    return None if supervisor.error is None else stopped or supervisor.error
