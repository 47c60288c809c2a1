"""Every language model here: embedding, a stack of blocks, and a head, as one function with state.

Dimension legend: B sequences, T tokens, D width, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lmlab.errors import UserError
from lmlab.models.heads.head import Head
from lmlab.models.state import LanguageModelState


class LanguageModel(nn.Module):
    """``hidden_BTD, state = model(tokens_BT, state)``; ``model.head`` turns hidden vectors into distributions.

    Reading tokens at once, in pieces or one by one with carried state gives the same hidden vectors, and none depends
    on a later token.

    Initialisation: matrices from N(0, 2 / (5 D)) (Nguyen & Salazar 2019, section 2.2), those that write into a residual
    stream divided by sqrt(2 depth) (Radford et al. 2019, section 2.3), so that the scale of the stream does not depend
    on width and depth; LSTM weights as torch has them, uniform in +-1 / sqrt(D), with which it grows as sqrt(depth). An
    embedding that blocks read without normalising it is drawn from N(0, 0.4^2): with the small one, an LSTM's gates
    hardly see their input and its loss stays at that of token frequencies for hundreds of steps.

    Args:
        vocabulary: V, types of the tokenizer; supplied by the data.
        context: longest sequence in training; supplied by the data.
        width: D.
        depth: number of blocks.
        mixer: called with (width), makes the sequence mixer of a block.
        channel: called with (width), makes the channel mixer of a block; ``None``: blocks without one.
        block: called with (width, mixer, channel, norm, dropout), makes a block.
        norm: called with (width), makes a normalisation.
        head: called with (width, vocabulary, embedding or None), makes the head.
        positions: ``learned`` adds a table of ``context`` position vectors; ``none`` leaves positions to the mixers.
        tie_embeddings: the head's matrix is the embedding's.
        dropout: probability, on embeddings and on what blocks add.

    Raises:
        UserError: a size is impossible.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        *,
        width: int,
        depth: int,
        mixer: Callable[..., nn.Module],
        block: Callable[..., nn.Module],
        head: Callable[..., Head],
        norm: Callable[..., nn.Module],
        channel: Callable[..., nn.Module] | None = None,
        positions: Literal["none", "learned"] = "none",
        tie_embeddings: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for option, value in (("width", width), ("depth", depth)):
            if value < 1:
                raise UserError(f"model.{option}={value}: expected at least 1")
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout={dropout}: expected a number in [0, 1)")
        self.max_positions = context if positions == "learned" else None
        self.embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(context, width) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            block(width, mixer(width), channel(width) if channel else None, norm, dropout) for _ in range(depth)
        )
        self.norm = norm(width) if getattr(self.blocks[0], "needs_closing_norm", False) else nn.Identity()
        self.head = head(width, vocabulary, self.embedding if tie_embeddings else None)
        self._initialise(width, depth)

    def forward(self, tokens_BT: Tensor, state: LanguageModelState | None = None) -> tuple[Tensor, LanguageModelState]:
        """Read tokens [B, T] int64 after those that ``state`` stands for (``None``: none).

        Returns:
            The hidden vectors [B, T, D] and the state after the last token.

        Raises:
            UserError: more positions than a learned table has.
        """
        position = 0 if state is None else state.position
        end = position + tokens_BT.shape[1]
        x_BTD = self.embedding(tokens_BT)
        if self.position_embedding is not None:
            if self.max_positions is not None and end > self.max_positions:
                raise UserError(
                    f"a sequence of {end} tokens: the learned positions of this model end at {self.max_positions}"
                )
            x_BTD = x_BTD + self.position_embedding.weight[position:end]
        x_BTD = self.dropout(x_BTD)
        states = []
        for block, before in zip(self.blocks, state.blocks if state else [None] * len(self.blocks), strict=True):
            x_BTD, after = block(x_BTD, before)
            states.append(after)
        return self.norm(x_BTD), LanguageModelState(end, tuple(states))

    @torch.no_grad()
    def _initialise(self, width: int, depth: int) -> None:
        std = math.sqrt(2 / (5 * width))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                writes_residual = getattr(module, "writes_residual", False)
                module.weight.normal_(0, std / math.sqrt(2 * depth) if writes_residual else std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        if isinstance(self.norm, nn.Identity):  # blocks that normalise nothing
            self.embedding.weight.normal_(0, 0.4)
