"""Mamba-2 (Dao & Gu 2024, sections 6 and 7): a state-space model whose decay is one number for each head and token.

After an input projection to z, x, B, C and dt, and a short convolution with SiLU over x, B and C, each head keeps
    S_t = exp(-A dt_t) S_{t-1} + B_t (dt_t x_t)^T,    y_t = S_t^T C_t + D x_t,
and the layer gives W_out RMSNorm(y * silu(z)). Within a chunk of L tokens that is attention without a softmax, with
scores C_i . B_j times the decay between j and i; from chunk to chunk the state is handed on (section 6, listing 1).

Dimension legend: B sequences, T tokens, D width, Z chunks, L tokens of a chunk, H heads, P width of a head, G groups
of heads that share B and C, R heads of a group, N width of the state, I = H P inner width.

A token costs 2 D (3 I + 2 G N + H) operations in projections, and about 2 L (G N + I) + 4 N I in the recurrence.
The state is H N P = N I numbers, and the inputs of the convolution, however long the context.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from lmlab.errors import UserError, check_least
from lmlab.models.layers import Linear, check_width, divisors
from lmlab.models.mixers.chunks import HeadDecay, chunks, full_precision, into_chunks, kernels_fit, segment_sums, wide
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution

USUAL_HEAD_WIDTH = 64


class Mamba2(Mixer):
    """The Mamba-2 layer, in chunks of a sequence.

    Args:
        expansion: inner width over width.
        heads: H; ``None``: the divisor of the inner width that makes heads nearest to 64 wide.
        state_width: N.
        groups: G; the closing norm, too, is over each group by itself, as in the paper's code.
        taps: length of the convolution.
        chunk_length: longest L; changes speed and memory, not results.

    Raises:
        UserError: a size is impossible.
    """

    def __init__(
        self,
        width: int,
        expansion: int = 2,
        heads: int | None = None,
        state_width: int = 64,
        groups: int = 1,
        taps: int = 4,
        chunk_length: int = 64,
    ) -> None:
        super().__init__()
        sizes = {"expansion": expansion, "state_width": state_width, "taps": taps, "chunk_length": chunk_length}
        check_least(1, "model.mixer.", **sizes)
        inner = expansion * width
        check_width("model.mixer.expansion times model.width", inner)
        fitting = divisors(inner)
        if heads is None:
            heads = min(fitting, key=lambda count: abs(math.log(inner / count / USUAL_HEAD_WIDTH)))
        if heads not in fitting:
            near = min(fitting, key=lambda count: abs(count - heads))
            raise UserError(
                f"model.mixer.heads={heads}: must divide model.mixer.expansion * model.width = {inner} "
                f"(nearest that does: {near})"
            )
        if groups < 1 or heads % groups:
            near = min((count for count in fitting if heads % count == 0), key=lambda count: abs(count - groups))
            raise UserError(
                f"model.mixer.groups={groups}: must divide the number of heads, {heads} (nearest that does: {near})"
            )
        self.heads, self.head_width, self.groups, self.state_width = heads, inner // heads, groups, state_width
        self.chunk_length = chunk_length
        self.projection_in = Linear(
            width,
            2 * inner + 2 * groups * state_width + heads,
            bias=False,
            row_blocks=[inner, inner, *[groups * state_width] * 2, heads],
        )
        self.convolution = ShortConvolution(inner + 2 * groups * state_width, taps)
        self.decay = HeadDecay(heads)
        self.skip = nn.Parameter(torch.ones(heads))
        self.gain = nn.Parameter(torch.ones(inner))
        self.projection_out = Linear(inner, width, bias=False, writes_residual=True)

    def forward(self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        H, P, G, N = self.heads, self.head_width, self.groups, self.state_width
        last, before_BHNP = (None, None) if state is None else state
        z_BTI, mixed_BTC, p_BTH = self.projection_in(x_BTD).split([H * P, H * P + 2 * G * N, H], -1)
        mixed_BTC, last = self.convolution(mixed_BTC, last)
        x_BTI, b_BTN, c_BTN = silu(mixed_BTC).split([H * P, G * N, G * N], -1)
        x_BTHP, b_BTGN, c_BTGN = x_BTI.unflatten(-1, (H, P)), b_BTN.unflatten(-1, (G, N)), c_BTN.unflatten(-1, (G, N))
        with full_precision(x_BTD):
            if before_BHNP is None:
                before_BHNP = x_BTHP.new_zeros(x_BTD.shape[0], H, N, P, dtype=wide(x_BTHP))
            dt_BTH, log_decay_BTH = self.decay(p_BTH)
            stepped_BTHP = x_BTHP * dt_BTH[..., None]
            if kernels_fit(b_BTGN, x_BTHP):
                y_BTHP, after_BHNP = _fused(stepped_BTHP, log_decay_BTH, b_BTGN, c_BTGN, before_BHNP)
            else:
                b_BTGN, c_BTGN = b_BTGN.to(dt_BTH.dtype), c_BTGN.to(dt_BTH.dtype)
                y_BTHP, after_BHNP = scan(stepped_BTHP, log_decay_BTH, b_BTGN, c_BTGN, before_BHNP, self.chunk_length)
            y_BTI = (y_BTHP + self.skip[:, None] * x_BTHP).flatten(2) * silu(z_BTI.to(dt_BTH.dtype))
            y_BTI = rms_norm(y_BTI.unflatten(-1, (G, -1)), (H * P // G,), eps=1e-5).flatten(2) * self.gain
        return self.projection_out(y_BTI.to(x_BTD.dtype)), (last, after_BHNP)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: S of every head, and the convolution's last inputs."""
        return self.heads * self.state_width * self.head_width + self.convolution.state_size()

    def extra_flops(self, context: int) -> int:
        """Count operations of one token in the recurrence: within its chunk, into the state, and out of it."""
        count, length = chunks(context, self.chunk_length)
        inner = self.heads * self.head_width
        each = 2 * length * (self.groups * self.state_width + inner) + 4 * self.state_width * inner
        return round(count * length / context * each)


def scan(
    x_BTHP: Tensor, log_decay_BTH: Tensor, b_BTGN: Tensor, c_BTGN: Tensor, state_BHNP: Tensor, chunk_length: int
) -> tuple[Tensor, Tensor]:
    """Return y [B, T, H, P] of S_t = exp(log_decay_t) S_{t-1} + B_t x_t^T, y_t = S_t^T C_t, and S after the last."""
    T, G = x_BTHP.shape[1], b_BTGN.shape[2]
    x_BZLGRP = into_chunks(x_BTHP, chunk_length).unflatten(3, (G, -1))
    log_decay_BZGRL = into_chunks(log_decay_BTH, chunk_length).mT.unflatten(2, (G, -1))
    b_BZGLN, c_BZGLN = (into_chunks(part, chunk_length).transpose(2, 3) for part in (b_BTGN, c_BTGN))

    # Within each chunk, as attention.
    decay_BZGRLL = segment_sums(log_decay_BZGRL).exp()
    scores_BZGLL = c_BZGLN @ b_BZGLN.mT
    y_BZGRLP = (scores_BZGLL[:, :, :, None] * decay_BZGRLL) @ x_BZLGRP.permute(0, 1, 3, 4, 2, 5)

    # What each chunk adds to the state by its end, and the state before each chunk.
    to_end_BZLGR = decay_BZGRLL[..., -1, :].permute(0, 1, 4, 2, 3)
    left_BZGLX = (x_BZLGRP * to_end_BZLGR[..., None]).transpose(2, 3).flatten(4)
    added_BZGNRP = (b_BZGLN.mT @ left_BZGLX).unflatten(-1, x_BZLGRP.shape[-2:])
    from_start_BZGRL = log_decay_BZGRL.cumsum(-1).exp()
    state_BGNRP = state_BHNP.unflatten(1, (G, -1)).transpose(2, 3)
    before = []
    for added_BGNRP, kept_BGR in zip(added_BZGNRP.unbind(1), from_start_BZGRL[..., -1].unbind(1), strict=True):
        before.append(state_BGNRP)
        state_BGNRP = state_BGNRP * kept_BGR[:, :, None, :, None] + added_BGNRP

    # What each token reads from the state before its chunk.
    read_BZGLRP = (c_BZGLN @ torch.stack(before, 1).flatten(4)).unflatten(-1, x_BZLGRP.shape[-2:])
    y_BZGRLP = y_BZGRLP + read_BZGLRP.transpose(3, 4) * from_start_BZGRL[..., None]
    y_BSHP = y_BZGRLP.permute(0, 1, 4, 2, 3, 5).flatten(3, 4).flatten(1, 2)
    return y_BSHP[:, :T], state_BGNRP.transpose(2, 3).flatten(1, 2)


def _fused(
    x_BTHP: Tensor, log_decay_BTH: Tensor, b_BTGN: Tensor, c_BTGN: Tensor, state_BHNP: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what :func:`scan` does, by a kernel: gated linear attention with one gate for each head is the same sum."""
    from fla.ops.simple_gla import chunk_simple_gla

    each = x_BTHP.shape[2] // b_BTGN.shape[2]
    b_BTHN, c_BTHN = b_BTGN.repeat_interleave(each, 2), c_BTGN.repeat_interleave(each, 2)
    return chunk_simple_gla(
        c_BTHN,
        b_BTHN,
        x_BTHP.to(b_BTHN.dtype),
        g=log_decay_BTH,
        scale=1.0,
        initial_state=state_BHNP,
        output_final_state=True,
    )
