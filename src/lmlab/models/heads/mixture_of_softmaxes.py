"""Mixture of softmaxes (Yang et al. 2018, section 2.4): p = sum_i alpha_i(h) softmax(W_i h + b_i).

The log-probabilities of one softmax over all contexts are a matrix of rank at most D + 1; those of a mixture are not
bounded by that. Dimension legend: K components, D width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lmlab.errors import UserError, check_least
from lmlab.models.heads.head import Head


class MixtureOfSoftmaxes(Head):
    """A mixture of ``components`` softmaxes with weights alpha(h) = softmax(A h).

    Args:
        embedding: shares its matrix; needs ``factorised``.
        components: K.
        factorised: W_i h = W tanh(P_i h) with one V x D matrix W for all components, as in the paper; else every
            component has a V x D matrix and a bias of its own.

    Raises:
        UserError: no component, or a shared matrix without ``factorised``.
    """

    def __init__(
        self,
        width: int,
        vocabulary: int,
        embedding: nn.Embedding | None,
        components: int = 8,
        factorised: bool = True,
    ) -> None:
        super().__init__()
        check_least(1, "model.head.", components=components)
        if embedding is not None and not factorised:
            raise UserError(
                "model.tie_embeddings=true: needs model.head.factorised=true, else there are several matrices"
            )
        self.vocabulary = vocabulary
        self.components = components
        self.mixing = nn.Linear(width, components, bias=False)
        self.projection = nn.Linear(width, components * width) if factorised else None
        self.linear = nn.Linear(width, vocabulary if factorised else components * vocabulary)
        if embedding is not None:
            self.linear.weight = embedding.weight

    @property
    def chunk(self) -> int:
        return max(1, super().chunk // self.components)

    def log_probs(self, hidden: Tensor) -> Tensor:
        if self.projection is not None:
            of_components = self.projection(hidden).tanh().unflatten(-1, (self.components, -1))
            logits = linear(of_components, self.linear.weight, self.linear.bias)
        else:
            logits = self.linear(hidden).unflatten(-1, (self.components, -1))
        wide = torch.promote_types(logits.dtype, torch.float32)
        log_alpha = self.mixing(hidden).to(wide).log_softmax(-1)
        return (log_alpha[..., None] + logits.to(wide).log_softmax(-1)).logsumexp(-2)

    def extra_flops(self, context: int) -> int:
        """Return operations of the shared output matrix beyond its first use: every component uses it."""
        return 2 * (self.components - 1) * self.linear.weight.numel() if self.projection is not None else 0
