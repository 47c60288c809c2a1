"""How a sequence mixer and a channel mixer are put together. A block maps (x, state) to (x, state).

Every block is made by ``Block(width, mixer, channel, norm, dropout)``: the mixer, the channel mixer or ``None``, and
two functions, ``norm(width)`` and ``dropout()``, that make a normalisation and a dropout layer.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.token_shift import TokenShift


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
    """What the blocks with a residual stream are made of.

    Args:
        token_shift: have both mixers read a mix of each vector with the one before it, of which this is the share at
            the start of training (:class:`lmlab.models.token_shift.TokenShift`); ``None``: the vectors themselves.
            The state is then that of the mixer and the last vector that each of the two was given.

    Raises:
        UserError: the share is none.
    """

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
        token_shift: float | None = None,
    ) -> None:
        super().__init__()
        if token_shift is not None and not 0 <= token_shift <= 1:
            raise UserError(f"model.block.token_shift={token_shift}: expected a share from 0 to 1, or null")
        self.mixer_norm = norm(width)
        self.mixer = mixer
        self.channel_norm = norm(width) if channel is not None and self.norms_channel else None
        self.channel = channel
        self.dropout = dropout()
        self.mixer_shift = None if token_shift is None else TokenShift(width, token_shift)
        self.channel_shift = (
            None if token_shift is None or self.channel_norm is None else TokenShift(width, token_shift)
        )

    def shift_state_size(self) -> int:
        """Numbers that the state of a sequence has beside that of the mixer."""
        return sum(len(shift.share) for shift in (self.mixer_shift, self.channel_shift) if shift is not None)

    def unpack(self, state: Any) -> tuple[Any, Tensor | None, Tensor | None]:
        """Return the mixer's state, and what :func:`shifted` left before the mixer and before the channel mixer."""
        return (state, None, None) if self.mixer_shift is None or state is None else state

    def pack(self, state: Any, mixer_last_B1D: Tensor | None, channel_last_B1D: Tensor | None) -> Any:
        """Undo :meth:`unpack`."""
        return state if self.mixer_shift is None else (state, mixer_last_B1D, channel_last_B1D)


def shifted(shift: TokenShift | None, x_BTD: Tensor, last_B1D: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the vectors mixed with those before them, if they are to be, and the last of them for the next call."""
    return (x_BTD, None) if shift is None else shift(x_BTD, last_B1D)


class PreNormBlock(ResidualBlock):
    """x + mixer(norm(x)), then x + channel(norm(x)) where there is a channel mixer (Xiong et al. 2020, figure 1b)."""

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        state, last_B1D, channel_last_B1D = self.unpack(state)
        y_BTD, last_B1D = shifted(self.mixer_shift, self.mixer_norm(x_BTD), last_B1D)
        y_BTD, state = mix(self.mixer, y_BTD, state)
        x_BTD = x_BTD + self.dropout(y_BTD)
        if self.channel is not None and self.channel_norm is not None:
            y_BTD, channel_last_B1D = shifted(self.channel_shift, self.channel_norm(x_BTD), channel_last_B1D)
            x_BTD = x_BTD + self.dropout(self.channel(y_BTD))
        return x_BTD, self.pack(state, last_B1D, channel_last_B1D)


class PostNormBlock(ResidualBlock):
    """norm(x + mixer(x)), then norm(x + channel(x)) (Vaswani et al. 2017, section 3.1)."""

    needs_closing_norm = False

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        state, last_B1D, channel_last_B1D = self.unpack(state)
        y_BTD, last_B1D = shifted(self.mixer_shift, x_BTD, last_B1D)
        y_BTD, state = mix(self.mixer, y_BTD, state)
        x_BTD = self.mixer_norm(x_BTD + self.dropout(y_BTD))
        if self.channel is not None and self.channel_norm is not None:
            y_BTD, channel_last_B1D = shifted(self.channel_shift, x_BTD, channel_last_B1D)
            x_BTD = self.channel_norm(x_BTD + self.dropout(self.channel(y_BTD)))
        return x_BTD, self.pack(state, last_B1D, channel_last_B1D)


class ParallelBlock(ResidualBlock):
    """x + mixer(norm(x)) + channel(norm(x)) with one norm (Chowdhery et al. 2022, section 2, "parallel layers")."""

    norms_channel = False

    def forward(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        state, last_B1D, _ = self.unpack(state)
        normed_BTD, last_B1D = shifted(self.mixer_shift, self.mixer_norm(x_BTD), last_B1D)
        y_BTD, state = mix(self.mixer, normed_BTD, state)
        if self.channel is not None:
            y_BTD = y_BTD + self.channel(normed_BTD)
        return x_BTD + self.dropout(y_BTD), self.pack(state, last_B1D, None)
