"""Causal self-attention (Vaswani et al. 2017, section 3.2), with rotary positions, grouped queries, a sliding window.

Dimension legend: B sequences, T new tokens, S tokens in all, Q query heads, K key-value heads, H width of a head,
W window, N blocks of W tokens.

A token costs 2 (2 Q + 2 K) H D operations in projections and 4 S Q H in scores and sums (counted for all S positions,
as in PaLM, appendix B). The state is a key-value cache of 2 K H numbers for each token read.

With a window a token sees itself and the W - 1 tokens before it (Beltagy et al. 2020, section 3.1, looking back only;
Jiang et al. 2023, section 2). Scores and sums then cost at most 8 W Q H a token, because blocks of W tokens attend to
themselves and the block before; the cache keeps W - 1 tokens. A stack of L blocks still sees L (W - 1) tokens back.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lmlab.errors import UserError
from lmlab.models.layers import Linear, Split, divisors
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.state import KeyValueCache


class Attention(Mixer):
    """Multi-head attention to the tokens so far.

    Args:
        heads: Q.
        kv_heads: K, heads that keys and values have (Ainslie et al. 2023); ``None``: as many as queries.
        rotary: rotate queries and keys by their positions (Su et al. 2021, equation 34).
        rotary_base: longest wavelength / 2 pi.
        query_key_norm: normalise queries and keys of each head to unit root mean square, with a learned gain
            (Dehghani et al. 2023, section 2.1).
        bias: give the projections biases.
        window: W, tokens that a token sees, itself included; ``None``: all.

    Raises:
        UserError: the heads do not divide the width, a width is unsuitable for rotary positions, or a window is empty.
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        kv_heads: int | None = None,
        rotary: bool = True,
        rotary_base: float = 10000.0,
        query_key_norm: bool = False,
        bias: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or width % heads:
            near = min(divisors(width), key=lambda count: abs(count - heads))
            raise UserError(f"model.mixer.heads={heads}: must divide model.width={width} (nearest that does: {near})")
        if kv_heads < 1 or heads % kv_heads:
            raise UserError(f"model.mixer.kv_heads={kv_heads}: must divide model.mixer.heads={heads}")
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, width // heads
        if rotary and self.head_width % 2:
            raise UserError(
                f"model.mixer.heads={heads}: rotary positions need an even width per head, not {self.head_width}"
            )
        if window is not None and window < 1:
            raise UserError(f"model.mixer.window={window}: expected at least 1, or null (nearest: 1)")
        self.window = window
        self.rotary_base = rotary_base if rotary else None
        # Queries, keys and values are matrices of their own to an optimizer that treats matrices as such.
        self.projection_in = Linear(
            width, (heads + 2 * kv_heads) * self.head_width, bias, row_blocks=[width, *[kv_heads * self.head_width] * 2]
        )
        self.projection_out = Linear(width, width, bias, writes_residual=True)
        self.query_norm = nn.RMSNorm(self.head_width) if query_key_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(self.head_width) if query_key_norm else nn.Identity()

    def forward(
        self, x_BTD: Tensor, state: tuple[Tensor, KeyValueCache] | None
    ) -> tuple[Tensor, tuple[Tensor, KeyValueCache]]:
        B, T, _ = x_BTD.shape
        position_B, cache = (None, None) if state is None else state
        projected_BTP = self.projection_in(x_BTD)
        sharing = self.projection_in.out_features // projected_BTP.shape[-1]  # processes, each with some of the heads
        Q, K, H = self.heads // sharing, self.kv_heads // sharing, self.head_width
        q_BTQ, k_BTK, v_BTK = projected_BTP.split([Q * H, K * H, K * H], dim=-1)
        q_BQTH = self.query_norm(q_BTQ.view(B, T, Q, H)).transpose(1, 2)
        k_BKTH = self.key_norm(k_BTK.view(B, T, K, H)).transpose(1, 2)
        v_BKTH = v_BTK.view(B, T, K, H).transpose(1, 2)
        if self.rotary_base is not None:
            wide = torch.promote_types(q_BQTH.dtype, torch.float32)
            if position_B is None:
                cos, sin = _first_rotation(T, self.head_width, self.rotary_base, wide, x_BTD.device)
            else:
                positions_B1T = (position_B[:, None] + torch.arange(T, device=x_BTD.device))[:, None]
                cos, sin = _rotation(positions_B1T, self.head_width, self.rotary_base, wide)
            q_BQTH, k_BKTH = _rotate(q_BQTH, cos, sin), _rotate(k_BKTH, cos, sin)
        if cache is not None:
            k_BKTH, v_BKTH = cache.append(k_BKTH, v_BKTH)
        in_blocks = self.window is not None and self.window < T
        y_BQTH = (self._attend_in_blocks if in_blocks else self._attend)(q_BQTH, k_BKTH, v_BKTH)
        y_BTD = self.projection_out(y_BQTH.transpose(1, 2).reshape(B, T, Q * H))
        if self.window is not None and k_BKTH.shape[2] >= self.window:  # copies: a view would keep all of them alive
            first = k_BKTH.shape[2] - self.window + 1
            k_BKTH, v_BKTH = k_BKTH[:, :, first:].clone(), v_BKTH[:, :, first:].clone()
        after_B = torch.full((B,), T, device=x_BTD.device) if position_B is None else position_B + T
        return y_BTD, (after_B, KeyValueCache(k_BKTH, v_BKTH))

    def split(self) -> Split | None:
        """Return the split of the heads among processes; ``None`` with gains that all heads share."""
        if isinstance(self.query_norm, nn.RMSNorm):
            return None
        option = "model.mixer.heads" if self.kv_heads == self.heads else "model.mixer.kv_heads"
        blocks = [heads * self.head_width for heads in (self.heads, self.kv_heads, self.kv_heads)]
        return Split(self.kv_heads, option, {"projection_in": blocks}, ["projection_out"], state=True)

    def _attend(self, q_BQTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor) -> Tensor:
        """Attend from the last T of S tokens, with scores of all T S pairs."""
        T, S = q_BQTH.shape[2], k_BKSH.shape[2]
        grouped, bounded = self.heads != self.kv_heads, self.window is not None and self.window < S
        if not bounded and (T == S or T == 1):  # a single new token sees everything before it
            return scaled_dot_product_attention(q_BQTH, k_BKSH, v_BKSH, is_causal=T > 1, enable_gqa=grouped)
        visible_TS = torch.ones(T, S, dtype=torch.bool, device=q_BQTH.device).tril(S - T)
        if self.window is not None:
            visible_TS = visible_TS.triu(S - T - self.window + 1)
        return scaled_dot_product_attention(q_BQTH, k_BKSH, v_BKSH, attn_mask=visible_TS, enable_gqa=grouped)

    def _attend_in_blocks(self, q_BQTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor) -> Tensor:
        """Attend from the last T > W of S tokens: a first block, then all whole blocks at once, then the rest."""
        W, (B, Q, T, H) = self.window or 0, q_BQTH.shape
        carried, later = k_BKSH.shape[2] - T, T // W - 1
        parts = [self._attend(q_BQTH[:, :, :W], k_BKSH[:, :, : carried + W], v_BKSH[:, :, : carried + W])]
        if later:
            end = (1 + later) * W
            q_BNQWH = q_BQTH[:, :, W:end].unflatten(2, (later, W)).transpose(1, 2)
            k_BNKWH, v_BNKWH = (
                x_BKSH[:, :, carried : carried + end].unfold(2, 2 * W, W).permute(0, 2, 1, 4, 3)
                for x_BKSH in (k_BKSH, v_BKSH)
            )
            y_NQWH = self._attend(q_BNQWH.flatten(0, 1), k_BNKWH.flatten(0, 1), v_BNKWH.flatten(0, 1))
            parts.append(y_NQWH.view(B, later, Q, W, H).transpose(1, 2).flatten(2, 3))
        if T % W:
            start = carried + later * W
            parts.append(self._attend(q_BQTH[:, :, -(T % W) :], k_BKSH[:, :, start:], v_BKSH[:, :, start:]))
        return torch.cat(parts, 2)

    def state_size(self, context: int) -> int:
        """Count the numbers in the state of a sequence: keys and values of all tokens that later ones can see."""
        kept = context if self.window is None else min(context, self.window - 1)
        return 2 * kept * self.kv_heads * self.head_width

    def extra_flops(self, context: int) -> int:
        """Count operations of one token with ``context`` keys: products with keys and with values.

        With a window, those of a sequence of ``context`` tokens read at once, over its tokens: W keys for those of the
        first block, 2 W for those of whole ones after it, and W + r for those of the last r.
        """
        keys = context * context
        if self.window is not None and self.window < context:
            W, rest = self.window, context % self.window
            keys = W * W + (context // W - 1) * 2 * W * W + rest * (W + rest)
        return 4 * keys * self.heads * self.head_width // context


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # tensors kept from validation must serve training too
def _first_rotation(
    length: int, width: int, base: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return :func:`_rotation` of the first positions [T, H]; kept, since every layer and every step needs the same."""
    return _rotation(torch.arange(length, device=device), width, base, dtype)


def _rotation(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [..., H] of the angles by which ``positions`` [...] turn each pair of channels.

    In float32 a far position times a frequency would be off by more than the product's own rounding, so the angles are
    float64.
    """
    frequencies = base ** (-torch.arange(0, width, 2, device=positions.device, dtype=torch.float64) / width)
    angles = positions[..., None].double() * frequencies
    angles = torch.cat([angles, angles], -1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x_BQTH: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x_BQTH.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return (x_BQTH * cos + turned * sin).to(x_BQTH.dtype)
