"""CPU threads of a process: their number (``threads=``, ``trainer.threads``), and keeping them from spinning."""

import os
import threading
import time
from pathlib import Path

from lmlab.errors import UserError

MOST_THREADS = 1024
"""More than any process can use; the system refuses to start many more."""


def check_threads(threads: int | None, option: str = "threads") -> None:
    """Refuse a number of threads, given as ``option``, that is out of range. Raises ``UserError``."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UserError(
            f"{option}={threads}: expected a whole number from 1 to {MOST_THREADS}, or null for all cores "
            f"(nearest: {min(max(threads, 1), MOST_THREADS)})"
        )


def use_threads(threads: int | None, processes: int = 1) -> None:
    """Set the number of threads of this process, and share cores with other processes.

    Args:
        threads: threads of one operation; ``None``: this process's share of the cores. ``OMP_NUM_THREADS``, if set, is
            the number of cores to share.
        processes: number of processes that share the cores.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(limit) > 0:
        cores = min(cores, int(limit))
    torch.set_num_threads(threads or max(1, cores // processes))
    if threads is not None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # read by the tokenizers library when it first encodes
    share_cores()


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
    import torch

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
            import torch

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
    import torch

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
