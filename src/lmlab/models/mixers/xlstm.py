"""Shared parts of the two xLSTM blocks: block-diagonal projections and norms by head (Beck et al. 2024, section 2).

Dimension legend: B sequences, T tokens, N = B T, C channels, G blocks, H heads, P channels of a block or head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from lmlab.errors import UserError
from lmlab.models.layers import divisors


class BlockDiagonal(nn.Module):
    """Several projections [C, C], each made of G blocks [P, P] on its diagonal; 2 P C operations each for a token.

    Weights start from N(0, 2 / (5 P)): the rule for a whole matrix, with the inputs that an output has here. (The rule
    of the authors' code, 2 / (5 D), makes outputs vanish as a model gets wider.)

    Args:
        channels: C.
        blocks: G, which divides C.
        outputs: number of projections.
    """

    def __init__(self, channels: int, blocks: int, outputs: int) -> None:
        super().__init__()
        size = channels // blocks
        self.outputs = outputs
        self.weight = nn.Parameter(torch.empty(blocks, size, outputs * size).normal_(0, math.sqrt(2 / (5 * size))))

    def forward(self, x_BTC: Tensor) -> tuple[Tensor, ...]:
        """Return the projections of x, [B, T, C] each."""
        B, T, C = x_BTC.shape
        G, P, _ = self.weight.shape
        y_GNP = torch.bmm(x_BTC.reshape(B * T, G, P).transpose(0, 1), self.weight)
        return y_GNP.view(G, B * T, self.outputs, P).permute(2, 1, 0, 3).reshape(self.outputs, B, T, C).unbind(0)


class HeadNorm(nn.Module):
    """Normalise each head to zero mean and unit variance, with a gain for each channel (Wu & He 2018, by head).

    Gains start at 0.1, a choice of this project. With 1, the embedding's gradient grew fivefold from 2 mLSTM blocks to
    16 (width 64), and on one file of Python source, with one seed, AdamW came less far in as many steps: 6 mLSTM blocks
    to a loss of 1.30 and not 1.04 in 150, 4 sLSTM blocks to 2.15 and not 1.94 in 90. The authors' code has gains of 1,
    but mLSTM keys so small that epsilon hides the memory at first (1.10 in place of 1.04).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, h_BTHP: Tensor) -> Tensor:
        return layer_norm(h_BTHP, h_BTHP.shape[3:], eps=1e-6).flatten(2) * self.gain


def check_heads(heads: int, channels: int, what: str) -> None:
    """Refuse a number of heads that does not divide ``channels`` into two or more each. Raises ``UserError``."""
    if heads < 1 or channels % heads or channels == heads:
        fitting = [count for count in divisors(channels) if count < channels] or [1]
        near = min(fitting, key=lambda count: abs(count - heads))
        raise UserError(
            f"model.mixer.heads={heads}: must divide {what}={channels} and leave a head two channels or more, "
            f"as it is normalised (nearest that does: {near})"
        )
