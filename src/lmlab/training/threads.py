"""The number of CPU threads that a process computes with: ``threads=`` of commands, ``trainer.threads`` of training."""

import os

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

    from lmlab.training.spinning import share_cores

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(limit) > 0:
        cores = min(cores, int(limit))
    torch.set_num_threads(threads or max(1, cores // processes))
    if threads is not None:
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # read by the tokenizers library when it first encodes
    share_cores()
