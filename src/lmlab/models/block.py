"""How a sequence mixer and a channel mixer are put together. A block maps (x, state) to (x, state)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lmlab.errors import UserError


class ClassicBlock(nn.Module):
    """The mixer and nothing else, with dropout on its output: stacked, the textbook LSTM language model.

    Raises:
        UserError: a channel mixer was chosen, for which this block has no place.
    """

    needs_closing_norm = False

    def __init__(
        self,
        width: int,
        mixer: nn.Module,
        channel: nn.Module | None,
        norm: Callable[..., nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        if channel is not None:
            raise UserError("block=classic: has no place for a channel mixer (choose channel=none or block=prenorm)")
        self.mixer = mixer
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        x_BTD, state = self.mixer(x_BTD, state)
        return self.dropout(x_BTD), state


class PreNormBlock(nn.Module):
    """x + mixer(norm(x)), then x + channel(norm(x)) where there is a channel mixer (Xiong et al. 2020, figure 1b)."""

    needs_closing_norm = True

    def __init__(
        self,
        width: int,
        mixer: nn.Module,
        channel: nn.Module | None,
        norm: Callable[..., nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        self.mixer_norm = norm(width)
        self.mixer = mixer
        self.channel_norm = norm(width) if channel is not None else None
        self.channel = channel
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTD, state = self.mixer(self.mixer_norm(x_BTD), state)
        x_BTD = x_BTD + self.dropout(y_BTD)
        if self.channel is not None and self.channel_norm is not None:
            x_BTD = x_BTD + self.dropout(self.channel(self.channel_norm(x_BTD)))
        return x_BTD, state
