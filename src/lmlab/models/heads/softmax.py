"""The usual head: p = softmax(W h + b), with a cross-entropy that never keeps logits or their gradient whole.

Dimension legend: N tokens, n tokens of a chunk, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lmlab.models.heads.head import Head


class Softmax(Head):
    """One linear layer and a softmax.

    Args:
        embedding: its matrix is shared (Press & Wolf 2017); ``None``: a matrix of its own.
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
        weight_VD, bias_V = self.linear.weight, self.linear.bias
        device = hidden_ND.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
            bias_V = None if bias_V is None else bias_V.to(dtype)
        loss: Tensor = _ChunkedCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N, label_smoothing, self.chunk)
        return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(W h + b), its gradient computed in the forward pass while a chunk is at hand.

    With p = softmax(W h + b) and the smoothed truth q, the gradient with respect to the logits is (p - q) / N. Each
    chunk's logits are overwritten by their gradient and then used up, so three matrix products are all there is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        smoothing: float,
        chunk: int,
    ) -> Tensor:
        wanted = [tensor is not None and tensor.requires_grad for tensor in (hidden_ND, weight_VD, bias_V)]
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        scored_N = targets_N >= 0
        count = scored_N.sum().clamp(min=1)
        total = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        d_hidden_ND = torch.empty_like(hidden_ND) if wanted[0] else None
        d_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if wanted[1] else None
        d_bias_V = torch.zeros_like(bias_V, dtype=wide) if wanted[2] and bias_V is not None else None
        vocabulary = weight_VD.shape[0]
        for start in range(0, len(targets_N), chunk):
            part = slice(start, start + chunk)
            hidden_nD, scored_n1 = hidden_ND[part], scored_N[part, None]
            targets_n1 = targets_N[part, None].clamp(min=0)
            logits_nV = linear(hidden_nD, weight_VD, bias_V).to(wide)
            true_n1 = logits_nV.gather(1, targets_n1)
            mean_n1 = logits_nV.mean(1, keepdim=True) if smoothing else true_n1
            largest_n1 = logits_nV.amax(1, keepdim=True)
            logits_nV.sub_(largest_n1).exp_()
            sum_n1 = logits_nV.sum(1, keepdim=True)
            nats_n1 = sum_n1.log() + largest_n1 - (1 - smoothing) * true_n1 - smoothing * mean_n1
            total += nats_n1.masked_fill(~scored_n1, 0.0).sum(dtype=torch.float64)
            if not any(wanted):
                continue
            scale_n1 = scored_n1.to(wide) / count
            logits_nV.mul_(scale_n1 / sum_n1)
            if smoothing:
                logits_nV.sub_(scale_n1 * (smoothing / vocabulary))
            logits_nV.scatter_add_(1, targets_n1, -scale_n1 * (1 - smoothing))
            if d_bias_V is not None:
                d_bias_V += logits_nV.sum(0)
            d_logits_nV = logits_nV.to(hidden_ND.dtype)
            if d_hidden_ND is not None:
                torch.mm(d_logits_nV, weight_VD, out=d_hidden_ND[part])
            if d_weight_VD is not None:
                if d_logits_nV.dtype == wide:
                    d_weight_VD.addmm_(d_logits_nV.T, hidden_nD)
                else:
                    d_weight_VD += d_logits_nV.T @ hidden_nD
        ctx.save_for_backward(d_hidden_ND, d_weight_VD, d_bias_V)
        ctx.dtypes = [tensor.dtype if tensor is not None else None for tensor in (hidden_ND, weight_VD, bias_V)]
        return (total / count).to(wide)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients = [
            None if gradient is None else gradient.mul_(d_loss).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*gradients, None, None, None)
