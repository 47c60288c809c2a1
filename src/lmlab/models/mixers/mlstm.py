"""The mLSTM block: a matrix memory with exponential gates (Beck et al. 2024, section 2.3 and figure 11).

Each head stores value v under key k and reads with query q (equations 19 to 27), with f = sigmoid(f~), i = exp(i~):
    C_t = f_t C_{t-1} + i_t v_t k_t^T,    n_t = f_t n_{t-1} + i_t k_t,    h_t = C_t q_t / max(|n_t . q_t|, 1).

i overflows, so C and n are kept divided by exp(m_t). The output does not depend on m. Here it is
    m_t = max(log f_t + m_{t-1}, i~_t, 0),
equation 15 with a floor of 0: no exponent is then above 0, the empty state is all zeros, and the lower bound of 1 on
unscaled sums is exp(-m_t) <= 1 on scaled ones. (With a bound of 1 on scaled sums, the output would depend on m.) As
the output does not depend on m, no gradient goes through it.

T tokens are read in chunks of L. Unrolled over one, with F the sum of log f since its start, the sum over its own
tokens is a product of masked matrices, weights exp(F_t - F_s + i~_s - m_t), and the previous state is read with
weight exp(F_t + m_0 - m_t). Only the states between chunks are computed one after another.

The block around it: x is projected to twice the inner width C, for cells and output gate; q and k are read through a
short convolution and SiLU, v without; after the memory, a norm by head, a learned skip from the convolution,
multiplication with SiLU of the gate, and a projection back.

With inner width E D and heads of width P = E D / H, a token costs 6 E D^2 operations in dense projections, 6 E D times
a projection block in q, k and v, and H (4 P^2 + 4 L P) in memory. The state has about H P^2 numbers for any
context. Dimension legend: B sequences, T tokens, D width, C channels inside, H heads, P channels of a head, N chunks,
L tokens of a chunk, R = P + 1 columns: the values, and a 1 under which the normaliser is stored.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, silu

from lmlab.errors import UserError, check_least
from lmlab.models.layers import Linear, check_width, divisors
from lmlab.models.mixers.chunks import chunks, full_precision
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution
from lmlab.models.mixers.xlstm import BlockDiagonal, HeadNorm, check_heads


class MLSTMState(NamedTuple):
    """Memory C^T [B, H, P, P], normaliser n [B, H, P] and stabiliser m [B, H] in float32 or wider, and last inputs."""

    memory: Tensor
    normaliser: Tensor
    stabiliser: Tensor
    convolution: Tensor


class MLSTM(Mixer):
    """One mLSTM block; it has its own up-projection, so it needs no channel mixer.

    Forget gates start open, with biases from 3 to 6 over the heads, input gates near 1, with biases from N(0, 0.1^2),
    and neither depends on its input yet, as in the authors' code (github.com/NX-AI/xlstm, blocks/mlstm/cell.py).

    Args:
        expansion: E, inner width over outer width.
        heads: H.
        projection_block: width of the blocks of the matrices of queries, keys and values.
        taps: tokens that the short convolution sees.
        chunk: L, tokens that are read at once.

    Raises:
        UserError: the heads or blocks do not divide the inner width, or the chunk is empty.
    """

    def __init__(
        self,
        width: int,
        expansion: float = 2.0,
        heads: int = 4,
        projection_block: int = 4,
        taps: int = 4,
        chunk: int = 64,
    ) -> None:
        super().__init__()
        inner = round(expansion * width)
        check_least(1, "model.mixer.", taps=taps, chunk=chunk)
        check_width("model.mixer.expansion times model.width", inner)
        if inner < 2:
            raise UserError(f"model.mixer.expansion={expansion}: leaves no inner width")
        check_heads(heads, inner, "the inner width")
        if projection_block < 1 or inner % projection_block:
            near = min(divisors(inner), key=lambda size: abs(size - projection_block))
            raise UserError(
                f"model.mixer.projection_block={projection_block}: must divide the inner width={inner} "
                f"(nearest that does: {near})"
            )
        self.heads, self.head_width, self.chunk = heads, inner // heads, chunk
        self.projection_in = Linear(width, 2 * inner, bias=False, row_blocks=[inner, inner])
        self.convolution = ShortConvolution(inner, taps)
        self.query_key = BlockDiagonal(inner, inner // projection_block, 2)
        self.value = BlockDiagonal(inner, inner // projection_block, 1)
        self.gates = Linear(3 * inner, 2 * heads, keeps_initialisation=True)
        with torch.no_grad():
            self.gates.weight.zero_()
            self.gates.bias[:heads].normal_(0, 0.1)
            self.gates.bias[heads:] = torch.linspace(3, 6, heads)
        self.norm = HeadNorm(inner)
        self.skip = nn.Parameter(torch.ones(inner))
        self.projection_out = Linear(inner, width, bias=False, writes_residual=True)

    def forward(self, x_BTD: Tensor, state: MLSTMState | None) -> tuple[Tensor, MLSTMState]:
        x_BTC, gate_BTC = self.projection_in(x_BTD).chunk(2, -1)
        mixed_BTC, convolution = self.convolution(x_BTC, None if state is None else state.convolution)
        mixed_BTC = silu(mixed_BTC)
        q_BTC, k_BTC = self.query_key(mixed_BTC)
        (v_BTC,) = self.value(x_BTC)
        gates_BTG = self.gates(torch.cat([q_BTC, k_BTC, v_BTC], -1))
        wide = torch.promote_types(x_BTD.dtype, torch.float32)
        q_BHTP, k_BHTP, v_BHTP = (
            x.to(wide).unflatten(2, (self.heads, self.head_width)).transpose(1, 2) for x in (q_BTC, k_BTC, v_BTC)
        )
        i_BHT, f_BHT = gates_BTG.to(wide).mT.chunk(2, 1)
        with full_precision(x_BTD):
            h_BHTP, memory = remember(
                q_BHTP,
                k_BHTP * self.head_width**-0.5,
                v_BHTP,
                i_BHT,
                logsigmoid(f_BHT),
                self._empty(q_BHTP) if state is None else state[:3],
                self.chunk,
            )
            h_BTC = self.norm(h_BHTP.transpose(1, 2)).to(x_BTC.dtype)
        y_BTD = self.projection_out((h_BTC + self.skip * mixed_BTC) * silu(gate_BTC))
        return y_BTD, MLSTMState(*memory, convolution)

    def _empty(self, q_BHTP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, H, _, P = q_BHTP.shape
        return q_BHTP.new_zeros(B, H, P, P), q_BHTP.new_zeros(B, H, P), q_BHTP.new_zeros(B, H)

    def state_size(self, context: int) -> int:
        """Count the numbers in a sequence's state: memory, normaliser and stabiliser of each head, and last inputs."""
        return self.heads * (self.head_width**2 + self.head_width + 1) + self.convolution.state_size()

    def extra_flops(self, context: int) -> int:
        """Count operations of one token with the memory: scores and sums in its chunk, reading and storing."""
        count, length = chunks(context, self.chunk)
        P, R = self.head_width, self.head_width + 1
        return round(count * length / context * self.heads * (2 * length * (P + R) + 4 * P * R))


def remember(
    q_BHTP: Tensor,
    k_BHTP: Tensor,
    v_BHTP: Tensor,
    i_BHT: Tensor,
    f_BHT: Tensor,
    state: tuple[Tensor, Tensor, Tensor],
    limit: int,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Read with q the values stored under k, in chunks of at most ``limit`` tokens.

    Args:
        i_BHT, f_BHT: logarithms of input and forget gates.
        state: C^T, n and m of the tokens before.

    Returns:
        h [B, H, T, P], and C^T, n and m after the last token.
    """
    T, P = q_BHTP.shape[2:]
    N, L = chunks(T, limit)
    v_BHTR = torch.cat([v_BHTP, torch.ones_like(v_BHTP[..., :1])], -1)
    q_BHNLP, k_BHNLP, v_BHNLR = (pad(x, (0, 0, 0, N * L - T)).unflatten(2, (N, L)) for x in (q_BHTP, k_BHTP, v_BHTR))
    i_BHNL = pad(i_BHT, (0, N * L - T), value=-math.inf).unflatten(2, (N, L))  # padding stores nothing
    F_BHNL = pad(f_BHT, (0, N * L - T)).unflatten(2, (N, L)).cumsum(-1)  # and forgets nothing
    a_BHNL = i_BHNL - F_BHNL
    C_BHPR, m_BH = torch.cat([state[0], state[1][..., None]], -1), state[2]

    with torch.no_grad():
        largest_BHNL = a_BHNL.cummax(-1).values
        ms = [m_BH]
        for F_BH, largest_BH in zip(F_BHNL[..., -1].unbind(2), largest_BHNL[..., -1].unbind(2), strict=True):
            ms.append((F_BH + torch.maximum(ms[-1], largest_BH)).clamp(min=0))
        before_BHN, after_BHN = torch.stack(ms[:-1], 2), torch.stack(ms[1:], 2)
        m_BHNL = (F_BHNL + torch.maximum(before_BHN[..., None], largest_BHNL)).clamp(min=0)

    kept_BHN = (F_BHNL[..., -1] + before_BHN - after_BHN).exp()
    stored_BHNL = (F_BHNL[..., -1:] + a_BHNL - after_BHN[..., None]).exp()
    new_BHNPR = (k_BHNLP * stored_BHNL[..., None]).mT @ v_BHNLR
    Cs = []
    for kept_BH, new_BHPR in zip(kept_BHN.unbind(2), new_BHNPR.unbind(2), strict=True):
        Cs.append(C_BHPR)
        C_BHPR = torch.addcmul(new_BHPR, kept_BH[..., None, None], C_BHPR)

    later_LL = torch.ones(L, L, dtype=torch.bool, device=q_BHTP.device).triu(1)
    weights_BHNLL = (F_BHNL - m_BHNL)[..., None] + a_BHNL[..., None, :]
    scores_BHNLL = q_BHNLP @ k_BHNLP.mT * weights_BHNLL.masked_fill(later_LL, -math.inf).exp()
    carried_BHNL1 = (F_BHNL + before_BHN[..., None] - m_BHNL).exp()[..., None]
    sums_BHNLR = torch.addcmul(scores_BHNLL @ v_BHNLR, carried_BHNL1, q_BHNLP @ torch.stack(Cs, 2))
    h_BHNLP, dot_BHNL1 = sums_BHNLR.split([P, 1], -1)
    h_BHNLP = h_BHNLP / torch.maximum(dot_BHNL1.abs(), (-m_BHNL).exp()[..., None])
    return h_BHNLP.flatten(2, 3)[:, :, :T], (C_BHPR[..., :P], C_BHPR[..., P], ms[-1])
