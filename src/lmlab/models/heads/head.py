"""The base class of heads. Tokens are processed in chunks, so that predictions are never all in memory.

Dimension legend: N tokens, n tokens of a chunk, D width, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 3 << 22
"""Predictions (tokens times types) in a chunk: 48 MB in float32. Matrix products with fewer tokens are slower."""

KEPT_ELEMENTS = 1 << 20
"""Predictions (tokens times types) that are kept for the backward pass: 4 MB in float32, too few to recompute."""


class Head(nn.Module, ABC):
    """Turns hidden vectors into log-probabilities; the other methods are derived from ``log_probs``."""

    vocabulary: int

    @abstractmethod
    def log_probs(self, hidden: Tensor) -> Tensor:
        """Return float32 (or wider) log-probabilities [..., V] of the token after each of ``hidden`` [..., D]."""

    def extra_flops(self, context: int) -> int:
        """Return operations of matrix products for one token beyond two for each entry of a matrix parameter."""
        return 0

    @property
    def chunk(self) -> int:
        """Return the number of tokens in a chunk."""
        return max(1, CHUNK_ELEMENTS // self.vocabulary)

    def keeps(self, targets_N: Tensor) -> bool:
        """Return whether the predictions for all of ``targets_N`` may be in memory at once."""
        return len(targets_N) * self.vocabulary <= KEPT_ELEMENTS

    def per_token(self, function: Callable[[Tensor, Tensor], Tensor], hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Return ``function(log_probs_nV, targets_n)`` [N]; tokens whose target is negative get 0, with no gradient.

        If the predictions may not be kept (see :meth:`keeps`), they are computed chunk by chunk, and again in the
        backward pass.
        """

        def of_chunk(hidden_nD: Tensor, targets_n: Tensor) -> Tensor:
            values_n = function(self.log_probs(hidden_nD), targets_n.clamp(min=0))
            return values_n.masked_fill(targets_n < 0, 0.0)

        if self.keeps(targets_N):
            return of_chunk(hidden_ND, targets_N)
        chunks = zip(hidden_ND.split(self.chunk), targets_N.split(self.chunk), strict=True)
        return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False) for chunk in chunks])

    def cross_entropy(self, hidden_ND: Tensor, targets_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy in nats over the tokens whose target is not negative; 0 if there are none."""

        def nats(log_probs_nV: Tensor, targets_n: Tensor) -> Tensor:
            true_n = -log_probs_nV.gather(1, targets_n[:, None]).squeeze(1)
            if not label_smoothing:
                return true_n
            return (1 - label_smoothing) * true_n - label_smoothing * log_probs_nV.mean(1)

        return self.per_token(nats, hidden_ND, targets_N).sum() / (targets_N >= 0).sum().clamp(min=1)

    @torch.no_grad()
    def score(self, hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for each of N tokens: nats, whether the most probable type was right, its probability."""
        parts = []
        for hidden_nD, targets_n in zip(hidden_ND.split(self.chunk), targets_N.split(self.chunk), strict=True):
            log_probs_nV = self.log_probs(hidden_nD)
            best_n, guess_n = log_probs_nV.max(1)
            parts.append((-log_probs_nV.gather(1, targets_n[:, None]).squeeze(1), guess_n == targets_n, best_n.exp()))
        nats, correct, confidence = zip(*parts, strict=True)
        return torch.cat(nats), torch.cat(correct), torch.cat(confidence)
