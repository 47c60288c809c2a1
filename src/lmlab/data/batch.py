"""The batch of a training or evaluation step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmlab.data.dataset import NOT_SCORED


@dataclass(frozen=True)
class Batch:
    """Sequences to read and the targets at each position.

    Attributes:
        tokens: [B, T] int64, the model's input.
        targets: [B, T] int64, the token after each of ``tokens``; -1 for positions that are not scored.
        fresh: the sequences start from an empty state; if false, they continue those of the previous batch.
        where: indices [N] of the scored positions of the flattened batch, if few are scored; ``None``: use all
            positions.
        state: the model's state before ``tokens``, ``None`` for empty.
        share: scored tokens of this batch as a share of those of the whole optimizer step, over all micro-batches and
            ranks.
        row_share: sequences of this batch as a share of those of the whole optimizer step.
        first_row: number of the first sequence, counted over the whole optimizer step.
        references: for each row the texts that are right answers; ``None``: the targets are the answers.
    """

    tokens: Tensor
    targets: Tensor
    fresh: bool = True
    where: Tensor | None = None
    state: Any = None
    share: float = 1.0
    row_share: float = 1.0
    first_row: int = 0
    references: tuple[tuple[str, ...], ...] | None = None

    @classmethod
    def part_of_step(cls, tokens_BT: np.ndarray, targets_BT: np.ndarray, own: slice) -> "Batch":
        """Return the rows ``own`` of an optimizer step, given the tokens and targets of all its rows."""
        own_tokens_BT, own_targets_BT = torch.from_numpy(tokens_BT[own]), torch.from_numpy(targets_BT[own])
        where = (own_targets_BT >= 0).flatten().nonzero().squeeze(1)
        return cls(
            own_tokens_BT,
            own_targets_BT,
            where=where,
            share=len(where) / max(1, int((targets_BT >= 0).sum())),
            row_share=len(own_tokens_BT) / len(tokens_BT),
            first_row=own.start,
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its tokens and targets on ``device``."""
        where = None if self.where is None else self.where.to(device)
        return replace(self, tokens=self.tokens.to(device), targets=self.targets.to(device), where=where)

    def pieces(self, number: int) -> Iterator["Batch"]:
        """Yield the rows in ``number`` batches; with too few rows, some batches score nothing."""
        for piece in range(number):
            if piece < len(self.tokens):
                references = None if self.references is None else self.references[piece::number]
                yield Batch(self.tokens[piece::number], self.targets[piece::number], references=references)
            else:  # all ranks call the network equally often
                yield Batch(self.tokens[:1], torch.full_like(self.targets[:1], NOT_SCORED))

    def scored(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden vectors [N, D] and targets [N] for an objective."""
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), self.targets.flatten()
        return (hidden_ND, targets_N) if self.where is None else (hidden_ND[self.where], targets_N[self.where])


def nothing() -> Batch:
    """Return a batch in which nothing is scored."""
    return Batch(torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 1), NOT_SCORED))
