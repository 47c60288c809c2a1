"""Cross-entropy of softmax(W h + b) that never keeps all logits or their gradient, for large vocabularies.

Tokens are processed in chunks, and types in blocks that fit a processor's cache. Within block b the probabilities p_b
of a token sum to 1; the block's share s_b of the token's whole distribution follows from the blocks' sums of
exponentials. With q the target distribution, the gradient of a token's loss with respect to its logits is s_b p_b - q.
A share is one number for a token and a block, so it can scale vectors of width D instead of predictions, and q W is a
row of W (with label smoothing, mixed with the mean of all rows):

    dh = sum_b s_b (p_b W_b) - q W,        dW_b = p_b^T (s_b h) - q_b^T h.

So three matrix products and one softmax are the only passes over the predictions, and the gradient is computed in the
forward pass while they are in memory.

Dimension legend: N tokens, n tokens of a chunk, D width, V vocabulary, v types of a block, B blocks.
"""

from typing import Any

import torch
from torch import Tensor

BLOCK = 4096
"""Types in a block on a CPU; a GPU takes all at once."""


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_N: Tensor, smoothing: float, chunk: int
) -> Tensor:
    """Return the mean nats of the targets that are not negative (0 if there are none), in float32 or wider.

    Args:
        smoothing: share of the target distribution that is uniform over all types.
        chunk: limit of tokens whose predictions are in memory at once.
    """
    device = hidden_ND.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    loss: Tensor = _LinearCrossEntropy.apply(hidden_ND, weight_VD, bias_V, targets_N, smoothing, chunk)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
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
        d_hidden_ND = torch.zeros_like(hidden_ND, dtype=wide) if wants_hidden else None
        d_weight_VD = torch.empty_like(weight_VD, dtype=wide) if wants_weight else None
        d_bias_V = torch.zeros_like(bias_V, dtype=wide) if wants_bias and bias_V is not None else None
        total = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        weights_N1 = (targets_N >= 0).to(wide)[:, None]  # of the tokens in the mean
        weights_N1 /= weights_N1.sum().clamp(min=1)
        width = min(BLOCK, vocabulary) if hidden_ND.device.type == "cpu" else vocabulary
        blocks = [slice(first, min(first + width, vocabulary)) for first in range(0, vocabulary, width)]
        size = -(-tokens // max(1, -(-tokens // chunk)))  # as few chunks as allowed, of one size
        # All chunks share the buffers: on a CPU, fresh memory costs more than the softmax written into it.
        logits_Cv = hidden_ND.new_empty(size, width)
        probs_BCv = [hidden_ND.new_empty(size, block.stop - block.start) for block in blocks]
        for start in range(0, tokens, max(1, size)):
            part = slice(start, start + size)
            hidden_nD, targets_n = hidden_ND[part], targets_N[part].clamp(min=0)
            weights_n1 = weights_N1[part]
            log_sums_nB = torch.empty(len(hidden_nD), len(blocks), dtype=wide, device=hidden_ND.device)
            for index, block in enumerate(blocks):
                logits_nv = logits_Cv[: len(hidden_nD), : block.stop - block.start]
                torch.mm(hidden_nD, weight_VD[block].T, out=logits_nv)
                if bias_V is not None:
                    logits_nv += bias_V[block]
                log_sums_nB[:, index] = _softmax(logits_nv, out=probs_BCv[index][: len(hidden_nD)])
            normaliser_n1 = log_sums_nB.logsumexp(1, keepdim=True)
            shares_nB = (log_sums_nB - normaliser_n1).exp() * weights_n1
            truth_nD = _smoothed(weight_VD, targets_n, smoothing, wide)
            truth_n1 = (hidden_nD * truth_nD).sum(1, keepdim=True)
            if bias_V is not None:
                truth_n1 += _smoothed(bias_V, targets_n, smoothing, wide)[:, None]
            total += ((normaliser_n1 - truth_n1) * weights_n1).sum(dtype=torch.float64)
            for index, block in enumerate(blocks):
                probs_nv, share_n1 = probs_BCv[index][: len(hidden_nD)], shares_nB[:, index, None]
                if d_hidden_ND is not None:
                    d_hidden_ND[part] += share_n1 * (probs_nv @ weight_VD[block])
                if d_weight_VD is not None and dtype == wide:
                    d_weight_VD[block].addmm_(probs_nv.T, share_n1 * hidden_nD, beta=min(start, 1))
                elif d_weight_VD is not None:
                    product_vD = probs_nv.T @ (share_n1 * hidden_nD).to(dtype)
                    d_weight_VD[block] = d_weight_VD[block] + product_vD if start else product_vD
                if d_bias_V is not None:
                    d_bias_V[block] += (probs_nv.T @ share_n1.to(dtype))[:, 0]
            if d_hidden_ND is not None:
                d_hidden_ND[part] -= weights_n1 * truth_nD
            if d_weight_VD is not None:
                _subtract_truth(d_weight_VD, targets_n, weights_n1 * hidden_nD, smoothing)
            if d_bias_V is not None:
                _subtract_truth(d_bias_V, targets_n, weights_n1[:, 0], smoothing)
        ctx.save_for_backward(d_hidden_ND, d_weight_VD, d_bias_V)
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden_ND, weight_VD, bias_V)]
        return total.to(wide)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        gradients = ctx.saved_tensors
        if d_loss.device.type != "cpu" or d_loss != 1:  # comparing on a GPU would synchronise
            gradients = [None if gradient is None else gradient * d_loss for gradient in gradients]
        typed = [
            None if gradient is None else gradient.to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*typed, None, None, None)


def _softmax(logits_nv: Tensor, out: Tensor) -> Tensor:
    """Write softmax(logits) into ``out`` [n, v]; return log sum exp(logits) [n] in float32 or wider."""
    wide = torch.promote_types(logits_nv.dtype, torch.float32)
    probs_nv = torch.softmax(logits_nv, 1, wide, out=out if out.dtype == wide else None)
    # Read off the most probable type, where the logarithm of a probability is always accurate.
    log_sum_n = logits_nv.amax(1).to(wide) - probs_nv.amax(1).log()
    if probs_nv is not out:
        out.copy_(probs_nv)
    return log_sum_n


def _smoothed(parameter_V: Tensor, targets_n: Tensor, smoothing: float, wide: torch.dtype) -> Tensor:
    """Return q W [n, D] for the matrix W, or q b [n] for the bias b."""
    true = parameter_V[targets_n].to(wide)
    return torch.lerp(true, parameter_V.mean(0, dtype=wide).expand_as(true), smoothing) if smoothing else true


def _subtract_truth(gradient_V: Tensor, targets_n: Tensor, scored_n: Tensor, smoothing: float) -> None:
    """Subtract q^T h from W's gradient [V, D], or q^T 1 from b's [V], of the tokens that are scored."""
    gradient_V.index_add_(0, targets_n, scored_n, alpha=smoothing - 1)
    if smoothing:
        gradient_V -= smoothing / len(gradient_V) * scored_n.sum(0)
