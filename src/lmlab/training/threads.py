"""The number of CPU threads that a process computes with: ``threads=`` of commands, ``trainer.threads`` of training."""

import os

from lmlab.errors import UserError

MOST_THREADS = 1024
"""More than a process of any machine makes use of; with many more, the system refuses to start them."""


def check_threads(threads: int | None, option: str = "threads") -> None:
    """Refuse a number of threads, given as ``option``, that no process can have. Raises ``UserError``."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UserError(
            f"{option}={threads}: expected a whole number from 1 to {MOST_THREADS}, or null for all cores "
            f"(nearest: {min(max(threads, 1), MOST_THREADS)})"
        )


def use_threads(threads: int | None, processes: int = 1) -> None:
    """Compute with so many threads in this process, and share cores with other processes.

    Args:
        threads: for work inside one operation; ``None``: this process's share of the cores. ``OMP_NUM_THREADS`` says
            how many of the cores there are to share, where it is set.
        processes: that share the cores.
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
