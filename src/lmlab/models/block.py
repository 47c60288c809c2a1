"""Blocks: a sequence mixer and a channel mixer. A block maps (x, state) to :class:`Mixed`.

Every block is made by ``Block(width, mixer, channel, norm, dropout)``: the mixer, the channel mixer or ``None``, and
two functions, ``norm(width)`` and ``dropout()``, that make a normalisation and a dropout layer.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from lmlab.errors import UserError


class Mixed(NamedTuple):
    """What a mixer or a block returns; a plain ``(y_BTD, state)`` does for one without auxiliary losses.

    Attributes:
        y: [B, T, D].
        state: after the last token.
        auxiliary: losses to be added in training, by name: scalars, each a mean over the sequences of the batch, so
            that it does not matter how a batch is divided.
    """

    y: Tensor
    state: Any
    auxiliary: Mapping[str, Tensor] = {}


def mix(mixer: nn.Module, x_BTD: Tensor, state: Any) -> Mixed:
    """Apply a mixer or a block. Raises ``UserError`` if it returns anything but :class:`Mixed` or a pair."""
    mixed = mixer(x_BTD, state)
    if not isinstance(mixed, tuple) or len(mixed) not in (2, 3):
        raise UserError(
            f"model.mixer: {type(mixer).__name__} returned a {type(mixed).__name__}, expected (y_BTD, state)"
        )
    return Mixed(*mixed)


def transform(channel: nn.Module, x_BTD: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Apply a channel mixer, which returns ``y_BTD`` or ``(y_BTD, auxiliary losses)``."""
    y = channel(x_BTD)
    return y if isinstance(y, tuple) else (y, {})


def add_up(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return losses by name, those of equal names added."""
    return {**one, **{name: one[name] + value if name in one else value for name, value in other.items()}}


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

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        y_BTD, state, auxiliary = mix(self.mixer, x_BTD, state)
        return Mixed(self.dropout(y_BTD), state, auxiliary)


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

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        y_BTD, state, auxiliary = mix(self.mixer, self.mixer_norm(x_BTD), state)
        x_BTD = x_BTD + self.dropout(y_BTD)
        if self.channel is not None and self.channel_norm is not None:
            y_BTD, more = transform(self.channel, self.channel_norm(x_BTD))
            x_BTD, auxiliary = x_BTD + self.dropout(y_BTD), add_up(auxiliary, more)
        return Mixed(x_BTD, state, auxiliary)


class PostNormBlock(ResidualBlock):
    """norm(x + mixer(x)), then norm(x + channel(x)) (Vaswani et al. 2017, section 3.1)."""

    needs_closing_norm = False

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        y_BTD, state, auxiliary = mix(self.mixer, x_BTD, state)
        x_BTD = self.mixer_norm(x_BTD + self.dropout(y_BTD))
        if self.channel is not None and self.channel_norm is not None:
            y_BTD, more = transform(self.channel, x_BTD)
            x_BTD, auxiliary = self.channel_norm(x_BTD + self.dropout(y_BTD)), add_up(auxiliary, more)
        return Mixed(x_BTD, state, auxiliary)


class ParallelBlock(ResidualBlock):
    """x + mixer(norm(x)) + channel(norm(x)) with one norm (Chowdhery et al. 2022, section 2, "parallel layers")."""

    norms_channel = False

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        normed_BTD = self.mixer_norm(x_BTD)
        y_BTD, state, auxiliary = mix(self.mixer, normed_BTD, state)
        if self.channel is not None:
            of_channel_BTD, more = transform(self.channel, normed_BTD)
            y_BTD, auxiliary = y_BTD + of_channel_BTD, add_up(auxiliary, more)
        return Mixed(x_BTD + self.dropout(y_BTD), state, auxiliary)
