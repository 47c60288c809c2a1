"""Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2)."""

import torch
from torch import nn

from lmlab.training.optimizers.groups import check, check_betas, decay_groups, fused


def adam(model: nn.Module, lr: float, betas: list[float], eps: float = 1e-8) -> torch.optim.Adam:
    """Return Adam without weight decay. Raises ``UserError`` for a setting out of its range."""
    check(lr=lr, eps=eps)
    return torch.optim.Adam(model.parameters(), lr, check_betas(betas), eps, fused=fused(model))


def adamw(
    model: nn.Module, lr: float, betas: list[float], eps: float = 1e-8, weight_decay: float = 0.1
) -> torch.optim.AdamW:
    """Return Adam with decoupled decay of the matrices. Raises ``UserError`` for a setting out of its range."""
    check(lr=lr, eps=eps, weight_decay=weight_decay)
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr, check_betas(betas), eps, fused=fused(model))
