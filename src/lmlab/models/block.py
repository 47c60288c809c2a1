"""How a sequence mixer and a channel mixer are put together. A block maps (x, state) to (x, state).

Every block is made by ``Block(width, mixer, channel, norm, dropout)``: the mixer, the channel mixer or ``None``, and
two functions, ``norm(width)`` and ``dropout()``, that make a normalisation and a dropout layer.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lmlab.errors import UserError


def mix(mixer: nn.Module, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Return what a mixer makes of its input, and its state. Raises ``UserError`` if it returns anything else."""
    mixed = mixer(x_BTD, state)
    if not isinstance(mixed, tuple) or len(mixed) != 2:
        raise UserError(
            f"model.mixer: {type(mixer).__name__} returned a {type(mixed).__name__}, expected (y_BTD, state)"
        )
    return mixed


class ClassicBlock(nn.Module):
    """The mixer and nothing else, with dropout on its output: stacked, the textbook LSTM language model.

    Raises:
        UserError: a channel mixer was chosen, for which this block has no place.
    """

    needs_closing_norm = False
    normalises = False

    def __init__(
        self,
        width: int,
        mixer: nn.Module,
        channel: nn.Module | None,
        norm: Callable[..., nn.Module],
        dropout: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        if channel is not None:
            raise UserError("block=classic: has no place for a channel mixer (choose channel=none or block=prenorm)")
        self.mixer = mixer
        self.dropout = dropout()

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        x_BTD, state = mix(self.mixer, x_BTD, state)
        return self.dropout(x_BTD), state


class ResidualBlock(nn.Module):
    """What the blocks with a residual stream are made of."""

    needs_closing_norm = True
    normalises = True
    norms_channel = True

    def __init__(
        self,
        width: int,
        mixer: nn.Module,
        channel: nn.Module | None,
        norm: Callable[..., nn.Module],
        dropout: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.mixer_norm = norm(width)
        self.mixer = mixer
        self.channel_norm = norm(width) if channel is not None and self.norms_channel else None
        self.channel = channel
        self.dropout = dropout()


class PreNormBlock(ResidualBlock):
    """x + mixer(norm(x)), then x + channel(norm(x)) where there is a channel mixer (Xiong et al. 2020, figure 1b)."""

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTD, state = mix(self.mixer, self.mixer_norm(x_BTD), state)
        x_BTD = x_BTD + self.dropout(y_BTD)
        if self.channel is not None and self.channel_norm is not None:
            x_BTD = x_BTD + self.dropout(self.channel(self.channel_norm(x_BTD)))
        return x_BTD, state


class PostNormBlock(ResidualBlock):
    """norm(x + mixer(x)), then norm(x + channel(x)) (Vaswani et al. 2017, section 3.1)."""

    needs_closing_norm = False

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTD, state = mix(self.mixer, x_BTD, state)
        x_BTD = self.mixer_norm(x_BTD + self.dropout(y_BTD))
        if self.channel is not None and self.channel_norm is not None:
            x_BTD = self.channel_norm(x_BTD + self.dropout(self.channel(x_BTD)))
        return x_BTD, state


class ParallelBlock(ResidualBlock):
    """x + mixer(norm(x)) + channel(norm(x)) with one norm (Chowdhery et al. 2022, section 2, "parallel layers")."""

    norms_channel = False

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        normed_BTD = self.mixer_norm(x_BTD)
        y_BTD, state = mix(self.mixer, normed_BTD, state)
        if self.channel is not None:
            y_BTD = y_BTD + self.channel(normed_BTD)
        return x_BTD + self.dropout(y_BTD), state
