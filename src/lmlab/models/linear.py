"""A linear layer with marks for initialisation and optimizers."""

from collections.abc import Sequence

from torch import nn


class Linear(nn.Linear):
    """``nn.Linear`` with marks, which any linear layer or embedding may also have as attributes.

    Args:
        writes_residual: it writes into the residual stream, so its weights start smaller
            (:class:`lmlab.models.language_model.LanguageModel`).
        keeps_initialisation: the model does not initialise its weights again.
        row_blocks: rows of the matrices that its weight consists of, one below the other, each a matrix of its own to
            an optimizer that treats matrices as such; empty: it is one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        writes_residual: bool = False,
        keeps_initialisation: bool = False,
        row_blocks: Sequence[int] = (),
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.writes_residual = writes_residual
        self.keeps_initialisation = keeps_initialisation
        self.row_blocks = list(row_blocks)
