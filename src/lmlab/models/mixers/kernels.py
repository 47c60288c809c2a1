"""Availability of the flash-linear-attention kernels, which replace the chunked form of a recurrence here."""

from functools import cache

import torch
from torch import Tensor


def available(key_BTHK: Tensor, value_BTHV: Tensor) -> bool:
    """Return whether the kernels support a sequence with these keys (or input matrices) and values.

    They run on CUDA devices, where the package is installed; some of its versions take half precision only, and keys no
    wider than 256. Fewer tokens than its chunks of 64 are left to the form here.
    """
    return (
        key_BTHK.is_cuda
        and key_BTHK.dtype in (torch.bfloat16, torch.float16)
        and key_BTHK.dtype == value_BTHV.dtype
        and 16 <= key_BTHK.shape[-1] <= 256
        and value_BTHV.shape[-1] >= 16
        and key_BTHK.shape[1] >= 64
        and installed()
    )


@cache
def installed() -> bool:
    """Return whether the package can be imported; called only if it could be used: it is slow to load."""
    try:
        import fla.ops.gated_delta_rule
        import fla.ops.simple_gla  # noqa: F401
    except ImportError:
        return False
    return True
