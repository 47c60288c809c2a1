"""The linear recurrence h_t = a_t h_{t-1} + b_t of each channel by itself, in few sequential steps.

Dimension legend: B sequences, T tokens, D channels.

Time is cut into N chunks of L steps. First, all chunks are stepped through at once to find the product of a and the sum
that each chunk applies to a state. Then the states at the chunks' ends are computed one after the other. Last, all
chunks are stepped through again, each from its own initial state. That is about 3 L + N = O(sqrt(T)) operations on
large tensors in place of T on small ones, and 5 T D arithmetic operations in place of 2 T D. Nothing is divided by a
product of a or taken to the logarithm, so any a and b will do, zeros and negative ones too. On a CPU, a single step of
many sequences and channels takes long compared with starting an operation; there, a single chunk is used, which reads
every number but once.

With g_t = dh_t + a_{t+1} g_{t+1}, the same recurrence backwards in time, the gradients are da_t = g_t h_{t-1} and
db_t = g_t (Martin & Cundy 2018); so the backward pass keeps a and h, and nothing from within the scan.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def scan(a_BTD: Tensor, b_BTD: Tensor, h_BD: Tensor) -> Tensor:
    """Return every h_t [B, T, D] of h_t = a_t h_{t-1} + b_t that starts from ``h_BD``.

    The three tensors are of one dtype, and may have any number of dimensions, equal ones, in D's place.
    """
    if a_BTD.shape[1] == 1:
        return torch.addcmul(b_BTD, a_BTD, h_BD[:, None])
    return _Scan.apply(a_BTD, b_BTD, h_BD)  # type: ignore[no-any-return, no-untyped-call]


_LARGE_STEP = 4096
"""Size of a step above which a CPU gains nothing from chunks (measured at T = 64 to 2048 on one core)."""


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(a_BTD: Tensor, b_BTD: Tensor, h_BD: Tensor) -> Tensor:
        h_BTD = b_BTD.clone(memory_format=torch.contiguous_format)
        _run(a_BTD, h_BTD, h_BD, backwards=False)
        return h_BTD

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        a_BTD, _, h_BD = inputs
        ctx.save_for_backward(a_BTD, output, h_BD)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        """Scan several batches as one, for ``torch.func.vmap``."""
        stacked = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(inputs, in_dims, strict=True)
        ]
        h_BTD = _Scan.apply(*(x.flatten(0, 1) for x in stacked))  # type: ignore[no-untyped-call]
        return h_BTD.unflatten(0, (info.batch_size, -1)), 0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        a_BTD, h_BTD, h_BD = ctx.saved_tensors
        g_BTD = dh_BTD.clone(memory_format=torch.contiguous_format)
        _run(a_BTD[:, 1:], g_BTD[:, :-1], g_BTD[:, -1], backwards=True)
        da_BTD = g_BTD.clone()
        da_BTD[:, 0].mul_(h_BD)
        da_BTD[:, 1:].mul_(h_BTD[:, :-1])
        return da_BTD, g_BTD, a_BTD[:, 0] * g_BTD[:, 0]


def _run(a_BTD: Tensor, h_BTD: Tensor, start_BD: Tensor, backwards: bool) -> None:
    """Turn b, which ``h_BTD`` holds, into h in place; ``backwards``: h_t from h_{t+1}.

    Chunks are numbered from the start of the recurrence, and only the last one may be short. A tensor of chunks is in
    the order of time, so the short one is first if the recurrence runs backwards.
    """
    T = a_BTD.shape[1]
    if T == 0:
        return
    if start_BD.device.type == "cpu" and start_BD.numel() >= _LARGE_STEP:
        steps = list(zip(a_BTD.unbind(1), h_BTD.unbind(1), strict=True))
        for a_BD, h_BD in reversed(steps) if backwards else steps:
            start_BD = h_BD.addcmul_(a_BD, start_BD)
        return
    L = max(1, round(math.sqrt(T / 3)))  # least 3 L + T / L
    N = -(-T // L)

    def at(x_BTD: Tensor, step: int, chunks: int = N) -> Tensor:
        """Return the step [B, N, D] of those of the first ``chunks`` chunks that have it."""
        if backwards:
            last = T - 1 - step
            return x_BTD[:, max(last - L * (chunks - 1), last % L) : last + 1 : L]
        return x_BTD[:, step : L * chunks : L]

    before_BND = start_BD[:, None]
    if N > 1:
        product_BND, sum_BND = at(a_BTD, 0, N - 1), at(h_BTD, 0, N - 1)
        for step in range(1, L):
            a_BND = at(a_BTD, step, N - 1)
            sum_BND = torch.addcmul(at(h_BTD, step, N - 1), a_BND, sum_BND)
            product_BND = product_BND * a_BND
        starts = [start_BD]
        for chunk in range(N - 2, -1, -1) if backwards else range(N - 1):
            starts.append(torch.addcmul(sum_BND[:, chunk], product_BND[:, chunk], starts[-1]))
        before_BND = torch.stack(starts[::-1] if backwards else starts, 1)
    for step in range(L):
        h_BND = at(h_BTD, step)
        count = h_BND.shape[1]
        h_BND.addcmul_(at(a_BTD, step), before_BND[:, -count:] if backwards else before_BND[:, :count])
        before_BND = h_BND
