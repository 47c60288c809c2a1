"""Stochastic gradient descent, with optional momentum (Sutskever et al. 2013, section 2)."""

import torch
from torch import nn

from lmlab.training.optimizers.groups import check, decay_groups, fused


def sgd(model: nn.Module, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> torch.optim.SGD:
    """Return SGD with decay of the matrices. Raises ``UserError`` for a setting out of its range."""
    check(lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.SGD(decay_groups(model, weight_decay), lr, momentum, fused=fused(model, shards=False))
