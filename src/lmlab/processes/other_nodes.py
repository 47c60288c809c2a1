"""Run nodes other than the first, which alone holds the run's lock, restarts the run and writes its record.

The nodes share only the run directory. The manifest states that an attempt is in progress and its rendezvous. A node
joins each attempt once, and ends when the first node has released the lock.
"""

import signal
import time
from typing import Any

from lmlab.errors import Interrupted, RunFailed, UserError
from lmlab.processes.layout import Ranks
from lmlab.processes.signals import INTERRUPTED
from lmlab.processes.spawn import Processes
from lmlab.runs import trust
from lmlab.runs.files import write_json
from lmlab.runs.run import Run

_BETWEEN_LOOKS = 0.5
_TO_END = 20.0
"""Seconds that the processes of an attempt have to end after those of the first node have ended."""


def follow(run: Run, ranks: Ranks, grace: float) -> None:
    """Start this node's processes of ``run`` whenever the first node starts its own, until the run has ended.

    Args:
        ranks: those of this node; without a ``rendezvous``, the one in the manifest is used.
        grace: seconds that they have to write the run's state after a stop request to this process.

    Raises:
        RunFailed: the run failed; its directory and the first node report the reason.
        Interrupted: the run was stopped, on the first node or here.
        KeyboardInterrupt: this process was stopped.
    """
    trust.check(run, "run it on the first node")
    follower = _Follower(run, ranks)
    stopped: KeyboardInterrupt | None = None
    while True:
        try:
            if follower.ended(joining=stopped is None):
                break
            time.sleep(_BETWEEN_LOOKS)
        except KeyboardInterrupt as interrupt:
            follower.stop(0.0 if stopped else grace)
            stopped = stopped or interrupt
    if stopped is not None:
        raise stopped
    status, error = follower.outcome
    if status != "finished":
        raise Interrupted(error) if status in ("interrupted", "pruned") else RunFailed(f"{error} (details: {run.log})")


class _Follower:
    def __init__(self, run: Run, ranks: Ranks) -> None:
        self.run = run
        self.ranks = ranks
        self.joined = 0
        self.processes: Processes | None = None
        self.deadline: float | None = None
        self.outcome = ("failed", "the first node ended the run")

    def stop(self, grace: float) -> None:
        """Signal all processes to stop; they are killed after ``grace`` seconds."""
        if self.processes is not None:
            self.processes.send(signal.SIGTERM)
        self.deadline = time.monotonic() + grace

    def ended(self, joining: bool) -> bool:
        """Take the next step; return whether the run, or this node's part in it, is over."""
        attempt, last = self._under_way()
        self._end_processes(attempt)
        if self.processes is not None:
            return False
        if not joining:
            return True
        if attempt > self.joined and "ended" not in last:
            self.joined, self.deadline = attempt, None
            meeting = self.ranks.rendezvous or last["rendezvous"]
            self.processes = Processes(self.run, self.ranks._replace(rendezvous=meeting, attempt=attempt), None)
            return False
        return attempt == 0 and (self.joined > 0 or self.outcome[0] == "finished")

    def _under_way(self) -> tuple[int, dict[str, Any]]:
        """Return the number and record of the newest attempt while the first node runs; 0 and ``{}`` otherwise."""
        try:
            manifest = self.run.manifest
        except UserError:
            if self.joined:  # the first node has removed a run that cannot be trained
                return 0, {}
            raise
        attempts = manifest["attempts"]
        if attempts and self.run.is_locked():
            return len(attempts), attempts[-1]
        self.outcome = manifest["status"], (attempts[-1].get("error") if attempts else None) or "its first node is gone"
        return 0, {}

    def _end_processes(self, attempt: int) -> None:
        if self.processes is None:
            return
        code = self.processes.exitcode
        if code is None:
            if attempt != self.joined:  # the attempt has ended on the first node
                self.deadline = self.deadline or time.monotonic() + (0.0 if attempt else _TO_END)
            if self.deadline is not None and time.monotonic() > self.deadline:
                self.processes.send(signal.SIGKILL)
            return
        self.processes.close()
        self.processes = None
        if self.deadline is None and code not in (0, 1, INTERRUPTED):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            message = f"the processes of node {self.ranks.node} ended: {how}"
            write_json(self.run.error, {"kind": "Fault", "message": message, "traceback": ""})
