"""What a training or evaluation step is given."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


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
