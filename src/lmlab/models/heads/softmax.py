"""The usual head: p = softmax(W h + b), with a cross-entropy that never keeps logits or their gradient whole.

Dimension legend: N tokens, n tokens of a chunk, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

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
        if not torch.is_grad_enabled():
            return super().cross_entropy(hidden_ND, targets_N, label_smoothing)
        weight_VD: Tensor = self.linear.weight
        bias_V: Tensor | None = self.linear.bias
        device = hidden_ND.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
            bias_V = None if bias_V is None else bias_V.to(dtype)
        loss: Tensor = _ChunkedCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N, label_smoothing, self.chunk)
        return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(W h + b), its gradient computed in the forward pass while a chunk is at hand.

    With p = softmax(W h + b) and the smoothed truth q, the gradient of one token's loss with respect to its logits is
    p - q. It overwrites p and is used up at once, so three matrix products are all there is. What scales the whole
    gradient waits for the backward pass, where only matrices of the size of h and W are left to scale.
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
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        tokens, vocabulary = len(hidden_ND), len(weight_VD)
        dtype, wide = hidden_ND.dtype, torch.promote_types(hidden_ND.dtype, torch.float32)
        count = (targets_N >= 0).sum().clamp(min=1)
        total = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        d_hidden_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        d_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if wants_weight else None
        d_bias_V = torch.zeros_like(bias_V, dtype=wide) if wants_bias and bias_V is not None else None
        # All chunks share two buffers: on a CPU, fresh memory costs more than the softmax written into it.
        logits_CV = hidden_ND.new_empty(min(chunk, tokens), vocabulary)
        probs_CV = torch.empty_like(logits_CV, dtype=wide)
        for start in range(0, tokens, chunk):
            part = slice(start, start + chunk)
            hidden_nD, targets_n1 = hidden_ND[part], targets_N[part, None].clamp(min=0)
            logits_nV = _logits(hidden_nD, weight_VD, bias_V, out=logits_CV[: len(hidden_nD)])
            probs_nV = torch.softmax(logits_nV, 1, wide, out=probs_CV[: len(hidden_nD)])
            # log sum exp, read off the most probable type, where the logarithm of a probability is always accurate
            normaliser_n1 = logits_nV.amax(1, keepdim=True).to(wide) - probs_nV.amax(1, keepdim=True).log()
            truth_n1 = (1 - smoothing) * logits_nV.gather(1, targets_n1).to(wide)
            if smoothing:
                truth_n1 += smoothing * logits_nV.mean(1, keepdim=True, dtype=wide)
                probs_nV.sub_(smoothing / vocabulary)
            scored_n1 = (targets_N[part, None] >= 0).to(wide)
            total += ((normaliser_n1 - truth_n1) * scored_n1).sum(dtype=torch.float64)
            d_logits_nV = probs_nV.scatter_add_(1, targets_n1, torch.full_like(truth_n1, smoothing - 1))
            if d_bias_V is not None:
                d_bias_V.addmv_(d_logits_nV.T, scored_n1[:, 0])
            if dtype != wide:
                d_logits_nV = logits_nV.copy_(d_logits_nV)
            if d_hidden_ND is not None:
                torch.mm(d_logits_nV, weight_VD, out=d_hidden_ND[part]).mul_(scored_n1)
            if d_weight_VD is not None and dtype == wide:
                d_weight_VD.addmm_(d_logits_nV.T, hidden_nD * scored_n1)
            elif d_weight_VD is not None:
                d_weight_VD += d_logits_nV.T @ (hidden_nD * scored_n1.to(dtype))
        ctx.save_for_backward(d_hidden_ND, d_weight_VD, d_bias_V, count)
        ctx.dtypes = [tensor.dtype if tensor is not None else None for tensor in (hidden_ND, weight_VD, bias_V)]
        return (total / count).to(wide)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        *gradients, count = ctx.saved_tensors
        scale = d_loss / count
        scaled = [
            None if gradient is None else (gradient * scale).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None, None)


def _logits(hidden_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, out: Tensor) -> Tensor:
    """W h + b, written into ``out`` [n, V]."""
    # A CPU's caches hold a product with some of the types, not with all: the same sums in 2/3 of the time.
    block = 1024 if out.device.type == "cpu" else len(weight_VD)
    for start in range(0, len(weight_VD), block):
        part = slice(start, start + block)
        torch.mm(hidden_nD, weight_VD[part].T, out=out[:, part])
    return out if bias_V is None else out.add_(bias_V)
