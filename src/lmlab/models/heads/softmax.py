"""The usual head: p = softmax(W h + b).

Dimension legend: N tokens, D width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lmlab.models.heads.head import Head
from lmlab.models.heads.linear_cross_entropy import linear_cross_entropy


class Softmax(Head):
    """One linear layer and a softmax.

    Args:
        embedding: shares its matrix with the head (Press & Wolf 2017); ``None``: the head has a matrix of its own.
        bias: add b.
    """

    def __init__(self, width: int, vocabulary: int, embedding: nn.Embedding | None, bias: bool = False) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.linear = nn.Linear(width, vocabulary, bias)
        if embedding is not None:
            self.linear.weight = embedding.weight

    def log_probs(self, hidden: Tensor) -> Tensor:
        logits = self.linear(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)

    def cross_entropy(self, hidden_ND: Tensor, targets_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
        if self.keeps(targets_N):
            logits_NV = self.linear(hidden_ND)
            logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
            total = cross_entropy(
                logits_NV, targets_N.clamp(min=-1), ignore_index=-1, reduction="sum", label_smoothing=label_smoothing
            )
            return total / (targets_N >= 0).sum().clamp(min=1)
        if not torch.is_grad_enabled():
            return super().cross_entropy(hidden_ND, targets_N, label_smoothing)
        weight_VD, bias_V = self.linear.weight, self.linear.bias
        return linear_cross_entropy(hidden_ND, weight_VD, bias_V, targets_N, label_smoothing, self.chunk)
