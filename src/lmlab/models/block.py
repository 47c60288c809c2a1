"""Blocks: a sequence mixer and a channel mixer. A block maps (x, state) to :class:`Mixed`.

Every block is made by ``Block(width, mixer, channel, norm, dropout)``: the mixer, the channel mixer or ``None``, and
two functions, ``norm(width)`` and ``dropout()``, that make a normalisation and a dropout layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.channels.channel import Channel
from lmlab.models.layers import TokenShift
from lmlab.models.mixers.mixer import Mixer


class Mixed(NamedTuple):
    """The result of a mixer or a block; a plain ``(y_BTD, state)`` suffices without auxiliary losses.

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
    """Return losses by name, with losses of equal names added."""
    return {**one, **{name: one[name] + value if name in one else value for name, value in other.items()}}


class Block(nn.Module, ABC):
    """The base class of blocks; a plain ``nn.Module`` that maps (x, state) to :class:`Mixed` serves as well.

    Attributes:
        mixer: the sequence mixer.
        channel: the channel mixer; ``None``: there is none.
        needs_closing_norm: the output of the last block has to be normalised.
        normalises: the block normalises the inputs of its mixers; a block that does not has no residual stream either.
    """

    mixer: Mixer
    channel: Channel | None
    needs_closing_norm = False
    normalises = True

    @abstractmethod
    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        """Return the result for [B, T, D] with the state after the last token."""

    def state_size(self, context: int) -> int | None:
        """Return how many numbers the state of one sequence has after ``context`` tokens; ``None``: measure it."""
        return self.mixer.state_size(context)

    def mixer_state(self, state: Any) -> Any:
        """Return the part of the block's state that is its mixer's."""
        return state


class ClassicBlock(Block):
    """A mixer with dropout on its output and nothing else; a stack of them is the textbook LSTM language model.

    Raises:
        UserError: a channel mixer is configured; this block takes none.
    """

    normalises = False

    def __init__(
        self,
        width: int,
        mixer: Mixer,
        channel: Channel | None,
        norm: Callable[..., nn.Module],
        dropout: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        if channel is not None:
            raise UserError("block=classic: takes no channel mixer (choose channel=none or block=prenorm)")
        self.mixer, self.channel = mixer, None
        self.dropout = dropout()

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        y_BTD, state, auxiliary = mix(self.mixer, x_BTD, state)
        return Mixed(self.dropout(y_BTD), state, auxiliary)


class ResidualBlock(Block):
    """The parts of blocks with a residual stream.

    Args:
        token_shift: initial share of the previous vector in the mix that both mixers read
            (:class:`lmlab.models.layers.TokenShift`); ``None``: mixers read the vectors themselves. With a token
            shift, the state holds the mixer's state and the last input vector of each mixer.

    Raises:
        UserError: the share is not in [0, 1].
    """

    needs_closing_norm = True
    norms_channel = True

    def __init__(
        self,
        width: int,
        mixer: Mixer,
        channel: Channel | None,
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

    def state_size(self, context: int) -> int | None:
        of_mixer = self.mixer.state_size(context)
        shifts = [len(shift.share) for shift in (self.mixer_shift, self.channel_shift) if shift is not None]
        return None if of_mixer is None else of_mixer + sum(shifts)

    def mixer_state(self, state: Any) -> Any:
        return state if self.mixer_shift is None else state[0]

    def shift(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any, tuple[Tensor, ...]]:
        """Return the mixer's input, the mixer's state, and the other entries of the block's state."""
        if self.mixer_shift is None:
            return x_BTD, state, ()
        of_mixer, last_B1D = (None, None) if state is None else state[:2]
        x_BTD, last_B1D = self.mixer_shift(x_BTD, last_B1D)
        return x_BTD, of_mixer, (last_B1D,)

    def apply_mixer(self, x_BTD: Tensor, state: Any) -> Mixed:
        """Apply the mixer, after its token shift if there is one; ``state`` is that of the block."""
        x_BTD, of_mixer, last = self.shift(x_BTD, state)
        mixed = mix(self.mixer, x_BTD, of_mixer)
        return mixed._replace(state=(mixed.state, *last)) if last else mixed

    def apply_channel(self, x_BTD: Tensor, state: Any, mixed: Mixed) -> Mixed:
        """Apply the channel mixer, after its token shift if there is one.

        Args:
            state: state of the block before this call.
            mixed: result of the mixer; its state and losses become part of the returned result.
        """
        assert self.channel is not None
        after = mixed.state
        if self.channel_shift is not None:
            x_BTD, last_B1D = self.channel_shift(x_BTD, None if state is None else state[2])
            after = (*after, last_B1D)
        y_BTD, auxiliary = transform(self.channel, x_BTD)
        return Mixed(y_BTD, after, add_up(mixed.auxiliary, auxiliary))


class PreNormBlock(ResidualBlock):
    """x + mixer(norm(x)), then x + channel(norm(x)) where there is a channel mixer (Xiong et al. 2020, figure 1b)."""

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        mixed = self.apply_mixer(self.mixer_norm(x_BTD), state)
        x_BTD = x_BTD + self.dropout(mixed.y)
        if self.channel is not None and self.channel_norm is not None:
            mixed = self.apply_channel(self.channel_norm(x_BTD), state, mixed)
            x_BTD = x_BTD + self.dropout(mixed.y)
        return mixed._replace(y=x_BTD)


class PostNormBlock(ResidualBlock):
    """norm(x + mixer(x)), then norm(x + channel(x)) (Vaswani et al. 2017, section 3.1)."""

    needs_closing_norm = False

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        mixed = self.apply_mixer(x_BTD, state)
        x_BTD = self.mixer_norm(x_BTD + self.dropout(mixed.y))
        if self.channel is not None and self.channel_norm is not None:
            mixed = self.apply_channel(x_BTD, state, mixed)
            x_BTD = self.channel_norm(x_BTD + self.dropout(mixed.y))
        return mixed._replace(y=x_BTD)


class ParallelBlock(ResidualBlock):
    """x + mixer(norm(x)) + channel(norm(x)) with one norm (Chowdhery et al. 2022, section 2, "parallel layers").

    The two share the token shift as they share the norm.
    """

    norms_channel = False

    def forward(self, x_BTD: Tensor, state: Any) -> Mixed:
        read_BTD, of_mixer, last = self.shift(self.mixer_norm(x_BTD), state)
        y_BTD, state, auxiliary = mix(self.mixer, read_BTD, of_mixer)
        if self.channel is not None:
            of_channel_BTD, more = transform(self.channel, read_BTD)
            y_BTD, auxiliary = y_BTD + of_channel_BTD, add_up(auxiliary, more)
        return Mixed(x_BTD + self.dropout(y_BTD), (state, *last) if last else state, auxiliary)
