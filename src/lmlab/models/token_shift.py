"""A learned mix of each vector with the one before it (Peng et al. 2023, "RWKV", section 3.1.1).

Dimension legend: B sequences, T tokens, D width.
"""

import torch
from torch import Tensor, nn


class TokenShift(nn.Module):
    """y_t = x_t + m (x_{t-1} - x_t), with a share m of each channel; x_0 is zero.

    Args:
        width: D.
        share: m at the start of training.
    """

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((width,), float(share)))

    def forward(self, x_BTD: Tensor, last_B1D: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y [B, T, D] and the last vector [B, 1, D], for the next call; ``None``: at the start."""
        if last_B1D is None:
            last_B1D = torch.zeros_like(x_BTD[:, :1])
        before_BTD = torch.cat([last_B1D, x_BTD[:, :-1]], 1)
        return torch.lerp(x_BTD, before_BTD, self.share.to(x_BTD.dtype)), x_BTD[:, -1:]
