"""A model's loss by position in the context and by frequency of the token.

Dimension legend: N tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

POSITIONS = 32
"""Bins of positions: 0, 1, 2 to 3, 4 to 7, ..."""
DECADES = 16
"""Bins of counts: 0, 1 to 9, 10 to 99, ..."""


class Breakdown(Metric):
    """Loss in bins of a token's position in its context and of how often it occurs in the training split.

    Sums in float64, as those of :class:`lmlab.data.judges.likelihood.LanguageModelMetrics`: batches and
    ranks change the result only by rounding.

    Args:
        context: number of positions.
        counts: returns [V], the frequency of each type in the training split; called when the first tokens are added.
            ``None`` for data that are not text.
    """

    full_state_update = False
    by_position: Tensor
    by_frequency: Tensor

    def __init__(self, context: int, counts: Callable[[], np.ndarray] | None) -> None:
        super().__init__()
        self.context = context
        self._edges = 2 ** torch.arange(POSITIONS - 1, device="cpu")
        # No buffer: ranks would send it to each other at every step.
        self._decade_V: Tensor | None = None
        self._counts = counts
        for name, bins in (("by_position", POSITIONS), ("by_frequency", DECADES)):
            self.add_state(name, torch.zeros(2, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def set_dtype(self, dst_type: torch.dtype | str) -> Metric:
        """Stay in float64 when the module around this metric is moved to another precision."""
        return self

    def update(self, nats_N: Tensor, positions_N: Tensor, targets_N: Tensor) -> None:
        """Add tokens, each given by its loss in nats, its position (0 is predicted from one token), and its type."""
        both = torch.stack([nats_N.double(), torch.ones_like(nats_N, dtype=torch.float64)])
        self._edges = self._edges.to(positions_N.device)
        self.by_position.index_add_(1, torch.bucketize(positions_N, self._edges, right=True), both)
        if self._counts is not None:
            if self._decade_V is None:
                edges = 10 ** np.arange(DECADES - 1, dtype=np.int64)
                self._decade_V = torch.from_numpy(np.searchsorted(edges, self._counts(), side="right"))
            self._decade_V = self._decade_V.to(targets_N.device)
            self.by_frequency.index_add_(1, self._decade_V[targets_N], both)

    def compute(self) -> dict[str, list[dict[str, Any]]]:
        """Return the non-empty bins by ``position`` and by ``frequency``.

        A bin has ``from``, ``to`` (not included), the number of ``tokens`` and their mean ``loss`` in nats.
        """
        bins = {"position": _bins(self.by_position, 2), "frequency": _bins(self.by_frequency, 10)}
        for row in bins["position"]:
            row["to"] = min(row["to"], self.context)
        return bins


def _bins(sums: Tensor, base: int) -> list[dict[str, Any]]:
    edges = [0, *(base**power for power in range(sums.shape[1]))]
    return [
        {"from": edges[number], "to": edges[number + 1], "tokens": int(tokens), "loss": nats / tokens}
        for number, (nats, tokens) in enumerate(sums.T.tolist())
        if tokens
    ]
