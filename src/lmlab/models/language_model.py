"""Every language model here: embedding, a stack of blocks, and a head, as one function with state.

Dimension legend: B sequences, T tokens, D width, V vocabulary.
"""

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from itertools import cycle, islice
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from lmlab.errors import UserError, check_least, nearest
from lmlab.models.block import Block, add_up, mix
from lmlab.models.channels.channel import Channel
from lmlab.models.heads.head import Head
from lmlab.models.layers import EmbeddingDropout, NGramEmbedding, VariationalDropout, check_count, check_width
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.parameters import check_size
from lmlab.models.state import LanguageModelState, Output

Kind = TypeVar("Kind", bound=nn.Module)


def adopt(part: nn.Module, kind: type[Kind], option: str) -> Kind:
    """Return a module, changed in place, with the methods of ``kind`` that it does not define itself.

    Args:
        option: names the part in messages.

    Raises:
        UserError: a method of the user's own class is called almost as one of ``kind`` that it lacks.
    """
    own = type(part)
    if not own.__module__.startswith(("lmlab.", "torch.")):
        _check_names(own, kind, option)
    if not isinstance(part, kind):
        part.__class__ = type(own.__name__, (own, kind), {"__module__": own.__module__, "__doc__": own.__doc__})
    assert isinstance(part, kind)
    return part


def _check_names(own: type, kind: type, option: str) -> None:
    """Refuse a method that would have no effect because its name is misspelt. Raises ``UserError``."""
    expected = {name for name in vars(kind) if not name.startswith("_")}
    names = {name for base in own.__mro__ if base is not kind and base is not nn.Module for name in vars(base)}
    for name in sorted(names - expected - set(dir(nn.Module))):
        if (near := get_close_matches(name, expected - names, 1, 0.85)) and not name.startswith("_"):
            raise UserError(f"{option}: {own.__name__}.{name}: did you mean {near[0]}?")


class LanguageModel(nn.Module):
    """``hidden_BTD, state, auxiliary = model(tokens_BT, state)``.

    ``model.head`` turns hidden vectors into distributions.

    Reading tokens at once, in pieces or one by one with carried state gives the same hidden vectors, and none depends
    on a later token.

    Initialisation: matrices from N(0, 2 / (5 D)) (Nguyen & Salazar 2019, section 2.2), those that write into a residual
    stream divided by sqrt(2 depth) (Radford et al. 2019, section 2.3), so that the scale of the stream does not depend
    on width and depth; recurrent layers of torch's own as ``lmlab.models.mixers.recurrence`` says. An embedding that
    blocks read without normalising it is drawn from N(0, 0.4^2): with the small one, an LSTM's gates hardly see their
    input and its loss stays at that of token frequencies for hundreds of steps.

    Args:
        vocabulary: V, types of the tokenizer; supplied by the data.
        context: longest sequence in training; supplied by the data.
        width: D.
        depth: number of blocks.
        block: called with (width, mixer, channel, norm, dropout), makes a block.
        head: called with (width, vocabulary, embedding or None), makes the head.
        norm: called with (width), makes a normalisation.
        mixer: called with (width), makes the sequence mixer of a block.
        channel: called with (width), makes the channel mixer of a block; ``None``: blocks without one.
        pattern: names of the blocks' mixers in turn, repeated until there are ``depth`` blocks, in place of ``mixer``.
            ``name+channel`` gives a block another channel mixer than ``channel``.
        mixers, channels: constructors of the mixers and channel mixers in ``pattern``, by name.
        positions: ``learned`` adds a table of ``context`` position vectors, ``sinusoidal`` fixed ones without end
            (Vaswani et al. 2017, section 3.5); ``none`` leaves positions to the mixers.
        scale_embedding: multiply embeddings by sqrt(D) (section 3.4 there).
        ngrams: rows of the tables of :class:`lmlab.models.layers.NGramEmbedding`; their sum is added to the
            embedding of each token; ``None``: no tables.
        tie_embeddings: the head's matrix is the embedding's.
        dropout: probability, on embeddings and on the outputs of mixers in blocks.
        variational_dropout: drop the same channels at all positions of a sequence (Gal & Ghahramani 2016).
        embedding_dropout: probability that a type of the vocabulary is read as zeros throughout a forward pass in
            training (Merity et al. 2018, section 4.3); the head's matrix stays whole, tied or not.
        parameters: the size that ``width`` was solved for (``lmlab.training.sizing``), a whole number or like ``10M``.
        parameters_of: which parameters that size counts.
        parameters_within: largest relative deviation from that size; ``None``: 1 %.
        solved_from: values of other options before they were changed to reach that size, for the record.

    Raises:
        UserError: a size is impossible, or deviates too far from ``parameters``.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        *,
        width: int,
        depth: int,
        block: Callable[..., nn.Module],
        head: Callable[..., Head],
        norm: Callable[..., nn.Module],
        mixer: Callable[..., nn.Module] | None = None,
        channel: Callable[..., nn.Module] | None = None,
        pattern: list[str] | None = None,
        mixers: dict[str, Any] | None = None,
        channels: dict[str, Any] | None = None,
        positions: Literal["none", "learned", "sinusoidal"] = "none",
        scale_embedding: bool = False,
        ngrams: list[int] | None = None,
        tie_embeddings: bool = True,
        dropout: float = 0.0,
        variational_dropout: bool = False,
        embedding_dropout: float = 0.0,
        parameters: int | str | None = None,
        parameters_of: Literal["total", "non_embedding", "matmul"] = "total",
        parameters_within: float | None = None,
        solved_from: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_least(1, "model.", width=width, depth=depth)
        check_count("model.depth", depth)
        check_width("model.width", width)
        for option, share in (("dropout", dropout), ("embedding_dropout", embedding_dropout)):
            if not 0 <= share < 1:
                raise UserError(f"model.{option}={share}: expected a number in [0, 1)")
        self.max_positions = context if positions == "learned" else None
        self.embedding = nn.Embedding(vocabulary, width)
        self.embedding_scale = math.sqrt(width) if scale_embedding else 1.0
        self.ngrams = None if ngrams is None else NGramEmbedding(vocabulary, width, list(ngrams))
        self.position_embedding = nn.Embedding(context, width) if positions == "learned" else None
        self.sinusoidal = positions == "sinusoidal"
        make_dropout = partial(VariationalDropout if variational_dropout else nn.Dropout, dropout)
        self.dropout = make_dropout()
        self.embedding_dropout = EmbeddingDropout(embedding_dropout)
        layers = [(mixer, channel)] if pattern is None else _layers(pattern, mixers or {}, channels or {}, channel)
        self.blocks = nn.ModuleList()
        for make_mixer, make_channel in islice(cycle(layers), depth):
            if make_mixer is None:
                raise UserError(
                    "model.mixer: a model needs one, or a pattern (choose mixer=... or model.pattern=[...])"
                )
            layer = block(
                width,
                adopt(make_mixer(width), Mixer, "model.mixer"),
                adopt(make_channel(width), Channel, "model.channel") if make_channel else None,
                norm,
                make_dropout,
            )
            self.blocks.append(adopt(layer, Block, "model.block"))
        self.norm = norm(width) if self.blocks[0].needs_closing_norm else nn.Identity()
        self.head = head(width, vocabulary, self.embedding if tie_embeddings else None)
        self._initialise(width, depth)
        if parameters is not None:
            check_size(self, parameters, parameters_of, parameters_within)

    def forward(self, tokens_BT: Tensor, state: LanguageModelState | None = None) -> Output:
        """Read tokens [B, T] int64 after those that ``state`` stands for (``None``: none).

        With a state, the caller must not exceed the positions of a learned table (see ``max_positions``).

        Raises:
            UserError: more tokens without a state than a learned table has positions.
        """
        B, T = tokens_BT.shape
        position_B = tokens_BT.new_zeros(B) if state is None else state.position
        x_BTD = self.embedding_dropout(self.embedding(tokens_BT), tokens_BT, self.embedding.num_embeddings)
        if self.embedding_scale != 1:
            x_BTD = x_BTD * self.embedding_scale
        recent: tuple[Tensor, ...] = ()
        if self.ngrams is not None:
            ngrams_BTD, recent_BN = self.ngrams(tokens_BT, None if state is None else state.recent[0])
            x_BTD, recent = x_BTD + ngrams_BTD, (recent_BN,)
        if self.position_embedding is not None or self.sinusoidal:
            x_BTD = x_BTD + self._position_vectors(None if state is None else state.position, T, x_BTD.dtype)
        x_BTD = self.dropout(x_BTD)
        states: list[Any] = []
        auxiliary: dict[str, Tensor] = {}
        for block, before in zip(self.blocks, state.blocks if state else [None] * len(self.blocks), strict=True):
            x_BTD, after, more = mix(block, x_BTD, before)
            states.append(after)
            auxiliary = add_up(auxiliary, more)
        return Output(self.norm(x_BTD), LanguageModelState(position_B + T, tuple(states), recent), auxiliary)

    def _position_vectors(self, position_B: Tensor | None, length: int, dtype: torch.dtype) -> Tensor:
        """Return the vectors of ``length`` positions: [T, D] of the first ones, [B, T, D] from ``position_B`` on."""
        device = self.embedding.weight.device
        if self.position_embedding is None:
            positions = torch.arange(length, device=device, dtype=torch.float64)
            if position_B is not None:
                positions = position_B[:, None] + positions
            return sinusoids(positions, self.embedding.embedding_dim).to(dtype)
        table_PD = self.position_embedding.weight
        if position_B is not None:
            return table_PD[position_B[:, None] + torch.arange(length, device=device)]
        if length > len(table_PD):
            raise UserError(
                f"a sequence of {length} tokens: the learned positions of this model end at {len(table_PD)}"
            )
        return table_PD[:length]

    def state_size(self, context: int) -> int | None:
        """Return how many numbers the state of one sequence has after ``context`` tokens; ``None``: measure it."""
        sizes = [cast(Block, block).state_size(context) for block in self.blocks]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def mixer_states(self, state: LanguageModelState) -> tuple[Any, ...]:
        """Return the states of the blocks' mixers."""
        return tuple(cast(Block, b).mixer_state(part) for b, part in zip(self.blocks, state.blocks, strict=True))

    def extra_flops(self, context: int) -> int:
        """Return operations beyond those of the model's parts."""
        return 0

    @torch.no_grad()
    def _initialise(self, width: int, depth: int) -> None:
        std = math.sqrt(2 / (5 * width))
        normalises = self.blocks[0].normalises
        for module in self.modules():
            if getattr(module, "keeps_initialisation", False):
                continue
            if isinstance(module, (nn.Linear, nn.Embedding)):
                writes_residual = normalises and getattr(module, "writes_residual", False)
                module.weight.normal_(0, std / math.sqrt(2 * depth) if writes_residual else std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        if not normalises:
            self.embedding.weight.normal_(0, 0.4)


def _layers(
    pattern: list[str],
    mixers: Mapping[str, Callable[..., nn.Module]],
    channels: Mapping[str, Callable[..., nn.Module] | None],
    channel: Callable[..., nn.Module] | None,
) -> list[tuple[Callable[..., nn.Module], Callable[..., nn.Module] | None]]:
    """Return constructors of mixer and channel per entry of a pattern. Raises ``UserError`` for an unknown name."""
    if not pattern:
        raise UserError("model.pattern=[]: expected names of mixers, for example [mamba2, mamba2, attention]")
    layers = []
    for entry in pattern:
        name, plus, own = entry.partition("+")
        for kind, part, options in (("mixer", name, mixers), ("channel", own, channels)):
            if part not in options and (kind == "mixer" or plus):
                raise UserError(f"model.pattern={entry}: no such {kind}{nearest(part, options)}")
        layers.append((mixers[name], channels[own] if plus else channel))
    return layers


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return the vectors [..., D] of float64 ``positions`` [...] (Vaswani et al. 2017, section 3.5)."""
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float64) / width
    angles = positions[..., None] * 10000.0**-exponents
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :width]
