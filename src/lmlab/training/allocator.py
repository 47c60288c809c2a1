"""Keep the memory that a training step frees for the next one, and recognise out-of-memory errors.

Every step allocates and frees the same tensors. The C library of Linux (glibc) gives the memory at the end of its heap
back to the system as soon as a certain amount of it is free, and allocates large pieces separately, so that the next
step makes the system clear the same pages again: up to 1,700 page faults and 6 % of a step of ``shakespeare_cpu``.
Results do not depend on it; the memory that a process occupies stays at its peak.
"""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of mallopt, numbered as in ``malloc.h``."""

LARGEST = 32 << 20
"""Largest allocation from the heap in bytes, the maximum of glibc."""

KEPT = 1 << 30
"""Free bytes at the end of the heap that are not returned to the system."""


def keep_freed_memory() -> bool:
    """Make this process reuse freed memory; return whether it does.

    No effect if the environment configures the allocator, or without glibc.
    """
    decided = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if decided or sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))


_MESSAGES = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch raised ``error`` because a device had no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
