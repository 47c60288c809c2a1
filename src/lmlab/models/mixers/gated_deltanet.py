"""Gated DeltaNet (Yang, Kautz & Hatamizadeh 2024): an associative memory with decay that corrects overwritten values.

Queries, keys and values pass a short convolution and SiLU; queries and keys are then scaled to length 1. Each head
keeps
    S_t = alpha_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T,    o_t = S_t q_t    (equation 10),
with beta_t = sigmoid(w . x_t) and alpha_t = exp(-A dt_t), dt_t as in Mamba-2; the layer gives W_out of every head's
RMSNorm(o_t) * silu(z_t). (The code holds S transposed, [K, V].)

A chunk of L tokens is done at once (section 3.3, the WY form): with gamma_i the decay from before the chunk to token
i, S_i^T = gamma_i S_0^T + sum_{j<=i} gamma_i/gamma_j k_j u_j^T, where the corrections u solve a triangular system,
    u_i + beta_i sum_{j<i} gamma_i/gamma_j (k_i . k_j) u_j = beta_i (v_i - gamma_i S_0 k_i).
Its solution is linear in S_0, so only a product with S_0 has to wait for the chunk before.

Dimension legend: B sequences, T tokens, D width, Z chunks, L tokens of a chunk, H heads, K and V widths of a head's
keys and values.

A token costs 2 D H (2 K + 3 V + 2) operations in projections and 2 H (2 L K + L V + 3 K V) in products of the
recurrence (H L (K + V) more for the triangular system are not counted, being no matrix product). The state is H K V
numbers, and the inputs of the convolution, however long the context.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from lmlab.errors import UserError, check_least
from lmlab.models.layers import Linear
from lmlab.models.mixers.chunks import HeadDecay, chunks, full_precision, into_chunks, kernels_fit, segment_sums, wide
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.mixers.short_convolution import ShortConvolution


class GatedDeltaNet(Mixer):
    """The Gated DeltaNet layer, in chunks of a sequence.

    Args:
        heads: H.
        key_ratio: width of all heads' keys over width. With the default of it and of ``value_ratio`` a layer has 6 D^2
            weights, as flash-linear-attention's has.
        value_ratio: width of all heads' values over width. Both are rounded to whole widths of a head.
        negative_eigenvalues: let beta be in (0, 2), so that I - beta k k^T has eigenvalues in (-1, 1) and not only in
            (0, 1), which tracking a parity takes (Grazzi et al. 2024).
        taps: length of the convolution.
        chunk_length: longest L; changes speed and memory, not results.

    Raises:
        UserError: a size is impossible.
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        key_ratio: float = 0.75,
        value_ratio: float = 1.5,
        negative_eigenvalues: bool = False,
        taps: int = 4,
        chunk_length: int = 64,
    ) -> None:
        super().__init__()
        check_least(1, "model.mixer.", heads=heads, taps=taps, chunk_length=chunk_length)
        self.heads, self.key_width, self.value_width = (
            heads,
            *(round(r * width / heads) for r in (key_ratio, value_ratio)),
        )
        for option, ratio, each in (
            ("key_ratio", key_ratio, self.key_width),
            ("value_ratio", value_ratio, self.value_width),
        ):
            if each < 1:
                raise UserError(
                    f"model.mixer.{option}={ratio}: leaves a head of model.mixer.heads={heads} no width "
                    f"(smallest that leaves one: {heads / width:g})"
                )
        self.largest_beta = 2.0 if negative_eigenvalues else 1.0
        self.chunk_length = chunk_length
        keys, values = heads * self.key_width, heads * self.value_width
        blocks = [keys, keys, values, values, heads, heads]
        self.projection_in = Linear(width, sum(blocks), bias=False, row_blocks=blocks)
        self.convolution = ShortConvolution(2 * keys + values, taps, bias=False)
        self.decay = HeadDecay(heads)
        self.gain = nn.Parameter(torch.ones(self.value_width))
        self.projection_out = Linear(values, width, bias=False, writes_residual=True)

    def forward(self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        H, K, V = self.heads, self.key_width, self.value_width
        last, before_BHKV = (None, None) if state is None else state
        mixed_BTC, z_BTX, p_BTH, b_BTH = self.projection_in(x_BTD).split([H * (2 * K + V), H * V, H, H], -1)
        mixed_BTC, last = self.convolution(mixed_BTC, last)
        q_BTX, k_BTX, v_BTX = silu(mixed_BTC).split([H * K, H * K, H * V], -1)
        q_BTHK, k_BTHK, v_BTHV = (part.unflatten(-1, (H, -1)) for part in (q_BTX, k_BTX, v_BTX))
        with full_precision(x_BTD):
            if before_BHKV is None:
                before_BHKV = k_BTHK.new_zeros(x_BTD.shape[0], H, K, V, dtype=wide(k_BTHK))
            _, log_alpha_BTH = self.decay(p_BTH)
            beta_BTH = self.largest_beta * b_BTH.to(log_alpha_BTH.dtype).sigmoid()
            tokens = (_unit(q_BTHK), _unit(k_BTHK), v_BTHV.to(wide(v_BTHV)), log_alpha_BTH, beta_BTH)
            if kernels_fit(k_BTHK, v_BTHV):
                o_BTHV, after_BHKV = _fused(*tokens, before_BHKV, k_BTHK.dtype)
            else:
                o_BTHV, after_BHKV = gated_delta_rule(*tokens, before_BHKV, self.chunk_length)
            gate_BTHV = silu(z_BTX.to(wide(z_BTX))).unflatten(-1, (H, V))
            y_BTX = (rms_norm(o_BTHV.to(gate_BTHV.dtype), (V,), eps=1e-5) * self.gain * gate_BTHV).flatten(2)
        return self.projection_out(y_BTX.to(x_BTD.dtype)), (last, after_BHKV)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: S of every head, and the convolution's last inputs."""
        return self.heads * self.key_width * self.value_width + self.convolution.state_size()

    def extra_flops(self, context: int) -> int:
        """Count operations of one token in the products of the recurrence: within its chunk, and with the state."""
        count, length = chunks(context, self.chunk_length)
        K, V = self.key_width, self.value_width
        return round(count * length / context * 2 * self.heads * (2 * length * K + length * V + 3 * K * V))


def gated_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_alpha_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    chunk_length: int,
) -> tuple[Tensor, Tensor]:
    """Return o [B, T, H, V] of every token and the state after the last."""
    T = q_BTHK.shape[1]
    q_BZHLK, k_BZHLK, v_BZHLV, beta_BZHL1 = (
        into_chunks(part, chunk_length).transpose(2, 3) for part in (q_BTHK, k_BTHK, v_BTHV, beta_BTH[..., None])
    )
    log_alpha_BZHL = into_chunks(log_alpha_BTH, chunk_length).mT
    decay_BZHLL = segment_sums(log_alpha_BZHL).exp()
    from_start_BZHL1 = log_alpha_BZHL.cumsum(-1).exp()[..., None]

    # The triangular system, for the two parts of its right side: the values, and the keys that S_0 will be read with.
    scaled_BZHLK = beta_BZHL1 * k_BZHLK
    right_BZHLX = torch.cat([beta_BZHL1 * v_BZHLV, from_start_BZHL1 * scaled_BZHLK], -1)
    system_BZHLL = scaled_BZHLK @ k_BZHLK.mT * decay_BZHLL  # the solver takes its diagonal as 1 and ignores its values
    solved_BZHLX = torch.linalg.solve_triangular(system_BZHLL, right_BZHLX, upper=False, unitriangular=True)
    own_BZHLV, reads_BZHLK = solved_BZHLX.split([v_BZHLV.shape[-1], k_BZHLK.shape[-1]], -1)

    left_BZHKL = (k_BZHLK * decay_BZHLL[..., -1, :, None]).mT
    before, corrections = [], []
    for own_BHLV, reads_BHLK, left_BHKL, kept_BH11 in zip(
        own_BZHLV.unbind(1),
        reads_BZHLK.unbind(1),
        left_BZHKL.unbind(1),
        from_start_BZHL1[:, :, :, -1:].unbind(1),
        strict=True,
    ):
        u_BHLV = own_BHLV - reads_BHLK @ state_BHKV
        before.append(state_BHKV)
        corrections.append(u_BHLV)
        state_BHKV = kept_BH11 * state_BHKV + left_BHKL @ u_BHLV

    scores_BZHLL = q_BZHLK @ k_BZHLK.mT * decay_BZHLL
    o_BZHLV = from_start_BZHL1 * q_BZHLK @ torch.stack(before, 1) + scores_BZHLL @ torch.stack(corrections, 1)
    return o_BZHLV.transpose(2, 3).flatten(1, 2)[:, :T], state_BHKV


def _unit(x_BTHK: Tensor) -> Tensor:
    """Give vectors length 1, or less where they almost vanish: a gradient there must not explode."""
    x_BTHK = x_BTHK.to(wide(x_BTHK))
    return x_BTHK * (x_BTHK.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def _fused(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_alpha_BTH: Tensor,
    beta_BTH: Tensor,
    state_BHKV: Tensor,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Do what :func:`gated_delta_rule` does, by a kernel that takes queries, keys and values in half precision."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    return chunk_gated_delta_rule(
        q_BTHK.to(dtype),
        k_BTHK.to(dtype),
        v_BTHV.to(dtype),
        g=log_alpha_BTH,
        beta=beta_BTH.to(dtype),
        scale=1.0,
        initial_state=state_BHKV,
        output_final_state=True,
    )
