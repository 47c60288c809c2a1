"""A causal convolution over the last few tokens, each channel by itself; many recurrences read their input through one.

y_t = sum_k w_k x_{t - K + 1 + k} + b. Dimension legend: B sequences, T tokens, C channels, K taps.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d


class ShortConvolution(nn.Module):
    """A depthwise causal convolution; 2 K C operations a token, and a state of the last K - 1 inputs.

    Args:
        channels: C.
        taps: K.
        bias: add b.
    """

    def __init__(self, channels: int, taps: int = 4, bias: bool = True) -> None:
        super().__init__()
        self.taps = taps
        self.weight = nn.Parameter(torch.empty(channels, 1, taps).uniform_(-(taps**-0.5), taps**-0.5))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def state_size(self) -> int:
        """Count the numbers in the state of a sequence."""
        return self.weight.shape[0] * (self.taps - 1)

    def forward(self, x_BTC: Tensor, state_BKC: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y [B, T, C] and the last K - 1 inputs [B, K - 1, C]; ``None`` stands for zeros before the first."""
        if state_BKC is None:
            state_BKC = x_BTC.new_zeros(x_BTC.shape[0], self.taps - 1, x_BTC.shape[2])
        seen_BSC = torch.cat([state_BKC, x_BTC], 1)
        y_BCT = conv1d(seen_BSC.mT, self.weight, self.bias, groups=x_BTC.shape[2])
        return y_BCT.mT, seen_BSC[:, seen_BSC.shape[1] - (self.taps - 1) :]
