"""What a training or evaluation step is given."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lmlab.data.windows import EvaluationBatch


@dataclass
class Batch:
    """Sequences to read and what should follow at each position.

    Attributes:
        tokens: [B, T] int64, what the model reads.
        targets: [B, T] int64, what follows each of ``tokens``; -1 where nothing is scored.
        fresh: whether the sequences start anew; if not, they go on where the previous batch's stopped.
        state: the model's state before ``tokens``, ``None`` for empty; an objective leaves the state after them here.
    """

    tokens: Tensor
    targets: Tensor
    fresh: bool = True
    state: Any = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its tokens and targets on ``device``."""
        return replace(self, tokens=self.tokens.to(device), targets=self.targets.to(device))


def as_batch(batch: EvaluationBatch) -> Batch:
    """An evaluation batch as tensors."""
    return Batch(torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets))
