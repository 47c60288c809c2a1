"""Keep PyTorch's threads from spinning while other processes need the cores.

The threads of an operation wait for each other by spinning, which is quickest while each has a core. Where processes
share cores, threads then spin on the cores that the ones they wait for need, and all are many times slower. The OpenMP
library of PyTorch's builds for Linux (libgomp) spins 300,000 rounds, but only 1,000 once a process has more threads
than cores (``GOMP_SPINCOUNT`` in its manual). Further threads, which do nothing, put a process in that state; when they
end, it leaves it. Results do not depend on it.
"""

import os
import threading
import time
from pathlib import Path

import torch

WAITING = Path("/proc/self/schedstat")
"""Of the main thread: nanoseconds that it ran, nanoseconds that it was ready but had no core, and time slices."""

NAME = "share cores"
"""The name of the thread that watches."""

CONTENDED, FREE = 0.05, 0.01
"""Shares of the time without a core: from the first on threads stop spinning, below the second they may again."""

INTERVAL, PATIENCE = 0.2, 20
"""Seconds between two looks, and looks without contention before threads spin again."""


def share_cores() -> None:
    """Watch the main thread from now on, and keep threads from spinning whenever it has to wait for a core.

    Without effect where operations have a single thread, where the environment sets how long they spin, or where the
    system does not say how long a thread waited.
    """
    decided = any(os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
    if decided or torch.get_num_threads() == 1 or not WAITING.exists():
        return
    if not any(thread.name == NAME for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=NAME, daemon=True).start()


class Contention:
    """Tells from the time that a thread waited for a core whether cores are shared with others."""

    def __init__(self) -> None:
        self.shared = False
        self._quiet = 0

    def update(self, waiting: float) -> bool:
        """Take in the share of the time since the last look that was spent waiting; return whether cores are shared."""
        self._quiet = self._quiet + 1 if waiting < FREE else 0
        if waiting >= CONTENDED:
            self.shared = True
        elif self._quiet >= PATIENCE:
            self.shared = False
        return self.shared


class Idle:
    """Threads that do nothing, so that the process has more threads than cores."""

    def __init__(self) -> None:
        self.holding: list[threading.Thread] = []
        self._end = threading.Event()

    def set(self, needed: bool) -> None:
        """Start them, or let them end."""
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
    """Have OpenMP make threads for this one, by an operation of many elements, which end with it."""
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
    """Return the seconds for which the main thread has been ready without a core."""
    return int(WAITING.read_text().split()[1]) / 1e9
