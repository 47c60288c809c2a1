"""Dropout that torch does not have: one mask for a whole sequence, whole word types, and weights.

Dimension legend: B sequences, T tokens, D width, V vocabulary.
"""

from torch import Tensor, nn
from torch.nn.functional import dropout


class VariationalDropout(nn.Dropout):
    """One mask for all positions of a sequence (Gal & Ghahramani 2016, section 4.1), drawn at every forward pass."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x_BTD
        return x_BTD * dropout(x_BTD.new_ones(x_BTD.shape[0], 1, x_BTD.shape[2]), self.p)


class EmbeddingDropout(nn.Dropout):
    """Drops word types: all tokens of a type, in all sequences of a forward pass, or none (section 4.2 there).

    Equivalent to dropping rows of the embedding matrix before the lookup.
    """

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor, vocabulary: int) -> Tensor:  # type: ignore[override]
        """Return embeddings ``x_BTD`` of ``tokens_BT``, those of dropped types 0, the others divided by 1 - p."""
        if not self.training or self.p == 0:
            return x_BTD
        return x_BTD * dropout(x_BTD.new_ones(vocabulary), self.p)[tokens_BT][..., None]
