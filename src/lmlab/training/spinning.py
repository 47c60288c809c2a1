"""Keep PyTorch's threads from spinning while other processes need the cores.

The threads of an operation wait for each other by spinning, which is fastest while each has a core. Where processes
share cores, waiting threads occupy cores that other threads need, and everything is many times slower. The OpenMP
library of PyTorch's builds for Linux (libgomp) spins 300,000 rounds, but only 1,000 once a process has more threads
than cores (``GOMP_SPINCOUNT`` in its manual). Additional idle threads put a process in that state; when they
end, it leaves it. Results do not depend on it.
"""

import os
import threading
import time
from pathlib import Path

import torch

WAITING = Path("/proc/self/schedstat")
"""Kernel statistics of the main thread: nanoseconds running, nanoseconds ready without a core, and time slices."""

NAME = "share cores"
"""The name of the watching thread."""

CONTENDED, FREE = 0.05, 0.01
"""Shares of time without a core: from the first on threads stop spinning, below the second they may spin again."""

INTERVAL, PATIENCE = 0.2, 20
"""Seconds between two measurements, and measurements without contention before threads spin again."""


def share_cores() -> None:
    """Watch the main thread from now on, and keep threads from spinning while it has to wait for cores.

    No effect if operations have a single thread, if the environment sets the spin count, or if the system does not
    report waiting times.
    """
    decided = any(os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
    if decided or torch.get_num_threads() == 1 or not WAITING.exists():
        return
    if not any(thread.name == NAME for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=NAME, daemon=True).start()


class Contention:
    """Detects from the waiting time of a thread whether cores are shared with other processes."""

    def __init__(self) -> None:
        self.shared = False
        self._quiet = 0

    def update(self, waiting: float) -> bool:
        """Add the share of time spent waiting since the last measurement; return whether cores are shared."""
        self._quiet = self._quiet + 1 if waiting < FREE else 0
        if waiting >= CONTENDED:
            self.shared = True
        elif self._quiet >= PATIENCE:
            self.shared = False
        return self.shared


class Idle:
    """Idle threads, so that the process has more threads than cores."""

    def __init__(self) -> None:
        self.holding: list[threading.Thread] = []
        self._end = threading.Event()

    def set(self, needed: bool) -> None:
        """Start or end the threads."""
        if needed and not self.holding:
            self._end = threading.Event()
            cores, others = len(os.sched_getaffinity(0)), max(1, torch.get_num_threads() - 1)
            for _ in range(-(-cores // others)):
                self.holding.append(threading.Thread(target=_hold, args=(self._end,), daemon=True))
                self.holding[-1].start()
        elif not needed and self.holding:
            self._end.set()
            self.holding = []


def _hold(end: threading.Event) -> None:
    """Make OpenMP create threads for this one, by a large operation; they end with this thread."""
    torch.zeros(1 << 20).add_(1)
    end.wait()


def _watch() -> None:
    contention, idle = Contention(), Idle()
    before, start = _waited(), time.monotonic()
    while True:
        time.sleep(INTERVAL)
        waited, end = _waited(), time.monotonic()
        idle.set(contention.update((waited - before) / (end - start)))
        before, start = waited, end


def _waited() -> float:
    """Return the seconds that the main thread has waited for a core."""
    return int(WAITING.read_text().split()[1]) / 1e9
