"""Shared parts of linear recurrences: a decay for each head and token, and a sequence read in chunks.

Dimension legend: B sequences, T tokens, Z chunks, L tokens of a chunk, H heads.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus


class HeadDecay(nn.Module):
    """Steps and decays that depend on the input (Dao & Gu 2024, section 7; their code's initialisation).

    dt_t = softplus(p_t + bias), decay_t = exp(-A dt_t), with A > 0 and the bias learned for each head. At first A is
    uniform in [1, 16] and dt (at p = 0) log-uniform in [0.001, 0.1]: memories of about 1 to 1000 tokens.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        step = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step_bias = nn.Parameter(step + (-torch.expm1(-step)).log())  # the inverse of softplus

    def forward(self, p_BTH: Tensor) -> tuple[Tensor, Tensor]:
        """Return dt and the logarithm of the decay, both in float32 or wider."""
        dt_BTH = softplus(p_BTH.to(wide(p_BTH)) + self.step_bias)
        return dt_BTH, -self.log_rate.exp() * dt_BTH


def wide(x: Tensor) -> torch.dtype:
    """Return the type in which a recurrence is computed: float32, or that of ``x`` if wider."""
    return torch.promote_types(x.dtype, torch.float32)


def full_precision(x: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of ``x``: it would do the products of a recurrence in bfloat16."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def chunks(length: int, longest: int) -> tuple[int, int]:
    """Return the number of chunks (Z) of a sequence and their length (L).

    Chunks are as equal as possible, so that padding adds at most Z - 1 tokens.
    """
    count = -(-length // longest)
    return count, -(-length // count)


def into_chunks(x_BTX: Tensor, longest: int) -> Tensor:
    """Return [B, Z, L, ...], zeros at the end. A token of zeros without decay does not change a linear state."""
    count, length = chunks(x_BTX.shape[1], longest)
    missing = count * length - x_BTX.shape[1]
    if missing:
        x_BTX = pad(x_BTX, [0, 0] * (x_BTX.ndim - 2) + [0, missing])
    return x_BTX.unflatten(1, (count, length))


def segment_sums(a_XL: Tensor) -> Tensor:
    """Return s [..., L, L] with s_ij = a_{j+1} + ... + a_i, and -inf for j > i (Dao & Gu 2024, listing 1).

    Each is summed separately: differences of cumulative sums would lose the digits of small ones after a large one.
    """
    L = a_XL.shape[-1]
    lower_LL = torch.ones(L, L, dtype=torch.bool, device=a_XL.device).tril()
    terms_XLL = a_XL[..., None].expand(*a_XL.shape, L).masked_fill(~lower_LL.tril(-1), 0)
    return terms_XLL.cumsum(-2).masked_fill(~lower_LL, -math.inf)


def kernels_fit(key_BTHK: Tensor, value_BTHV: Tensor) -> bool:
    """Return whether the kernels of flash-linear-attention, which replace the chunked form, support these arguments.

    The arguments are the keys (or input matrices) and values of a sequence. The kernels run on CUDA devices, where the
    package is installed; some of its versions take half precision only, and keys no wider than 256. Fewer tokens than
    its chunks of 64 are left to the form here.
    """
    return (
        key_BTHK.is_cuda
        and key_BTHK.dtype in (torch.bfloat16, torch.float16)
        and key_BTHK.dtype == value_BTHV.dtype
        and 16 <= key_BTHK.shape[-1] <= 256
        and value_BTHV.shape[-1] >= 16
        and key_BTHK.shape[1] >= 64
        and kernels_installed()
    )


@cache
def kernels_installed() -> bool:
    """Return whether the package can be imported; called only if it could be used: it is slow to load."""
    try:
        import fla.ops.gated_delta_rule
        import fla.ops.simple_gla  # noqa: F401
    except ImportError:
        return False
    return True
