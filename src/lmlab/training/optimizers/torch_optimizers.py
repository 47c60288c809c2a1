"""Optimizers of torch with lmlab's groups of parameters: SGD, Adam and AdamW."""

import torch
from torch import nn

from lmlab.errors import check_least
from lmlab.training.optimizers.groups import check_betas, decay_groups, fused


def sgd(model: nn.Module, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> torch.optim.SGD:
    """Return SGD with optional momentum (Sutskever et al. 2013, section 2) and decay of the matrices.

    Raises ``UserError`` for a setting out of its range.
    """
    check_least(0, "optimizer.", lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.SGD(decay_groups(model, weight_decay), lr, momentum, fused=fused(model, shards=False))


def adam(model: nn.Module, lr: float, betas: list[float], eps: float = 1e-8) -> torch.optim.Adam:
    """Return Adam without weight decay. Raises ``UserError`` for a setting out of its range."""
    check_least(0, "optimizer.", lr=lr, eps=eps)
    return torch.optim.Adam(model.parameters(), lr, check_betas(betas), eps, fused=fused(model))


def adamw(
    model: nn.Module, lr: float, betas: list[float], eps: float = 1e-8, weight_decay: float = 0.1
) -> torch.optim.AdamW:
    """Return Adam with decoupled decay of the matrices. Raises ``UserError`` for a setting out of its range."""
    check_least(0, "optimizer.", lr=lr, eps=eps, weight_decay=weight_decay)
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr, check_betas(betas), eps, fused=fused(model))
