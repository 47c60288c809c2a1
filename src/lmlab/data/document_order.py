"""The training batches of documents that are read one by one, as a pure function of seed, step and rank.

Dimension legend: D documents, P pieces of documents, S steps of an epoch, R rows, T context, L longest row.
"""

from dataclasses import replace

import numpy as np
import torch

from lmlab.data.batch import Batch, nothing
from lmlab.data.order import check_order, share
from lmlab.data.windows import Windows, filled


class DocumentOrder:
    """The order in which the documents of a split are trained on, each from an empty state.

    A row is a document, or a piece of ``context`` tokens of a longer one. Rows of similar length share an optimizer
    step: as many as fit into ``batch_size * context`` positions, each as long as the longest of them. The lengths in a
    step do not depend on the seed, so every pass has the same number of steps. The order of the steps, and the order of
    rows of equal length, are drawn for every pass. Each row comes once per pass.

    Args:
        tokens: [1 + N] ids of the split.
        starts: [D] places of the separators that begin a document.
        seed: at least 0.
        batch_size: with ``context``, the limit of positions in an optimizer step, over all ranks and micro-batches.
        context: T, limit of tokens in a row.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, seed: int, batch_size: int, context: int) -> None:
        check_order(seed, batch_size, context)
        self.tokens = np.asarray(tokens)  # plain indexing is faster than that of a memmap
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        windows = Windows(self.tokens, context, context, np.asarray(starts))
        lengths_P = windows.lengths()
        longest_first_P = np.argsort(-lengths_P, kind="stable")
        self._rows_P3 = windows.rows(longest_first_P)
        self._lengths_P = lengths_P[longest_first_P]
        self._bounds = self._divide()
        self._newest: tuple[int, np.ndarray, np.ndarray] | None = None
        self._newest_rows: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of optimizer steps in a pass."""
        return len(self._bounds) - 1

    @property
    def tokens_per_step(self) -> float:
        """Return the mean number of tokens that a step reads, without what rows are filled up with."""
        return float(self._lengths_P.sum()) / self.steps_per_epoch

    def batch(self, step: int, rank: int = 0, world: int = 1, micro: int = 0, accumulate: int = 1) -> Batch:
        """Return one micro-batch of an optimizer step; the arguments are those of :meth:`TrainingOrder.batch`.

        A micro-batch scores nothing if the step has fewer rows than micro-batches.

        Raises:
            UserError: the batch size is not a multiple of ``world * accumulate``.
        """
        share(self.batch_size, rank, world, micro, accumulate)
        epoch, place = divmod(step, self.steps_per_epoch)
        steps_S, pieces_P = self._order(epoch)
        first, end = self._bounds[steps_S[place]], self._bounds[steps_S[place] + 1]
        number, parts = rank * accumulate + micro, world * accumulate
        own_first, own_end = (first + (end - first) * bound // parts for bound in (number, number + 1))
        if own_first == own_end:
            return replace(nothing(), where=torch.empty(0, dtype=torch.int64), share=0.0, row_share=0.0)
        own_R = pieces_P[own_first:own_end]
        inputs_RL, targets_RL = filled(self.tokens, self._rows_P3[own_R], int(self._lengths_P[first]))
        return Batch(
            torch.from_numpy(inputs_RL),
            torch.from_numpy(targets_RL),
            where=torch.from_numpy(np.flatnonzero(targets_RL >= 0)),
            share=float(self._lengths_P[own_R].sum() / self._lengths_P[first:end].sum()),
            row_share=float(len(own_R) / (end - first)),
            first_row=int(own_first - first),
        )

    def rows(self, numbers_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets [R, T] int64 of the rows with these numbers, one by one in a random order."""
        epochs_R, places_R = np.divmod(numbers_R, len(self._rows_P3))
        pieces_R = np.empty_like(numbers_R)
        for epoch in np.unique(epochs_R).tolist():
            if self._newest_rows is None or self._newest_rows[0] != epoch:
                draws = np.random.Philox(np.random.SeedSequence((self.seed, epoch)))
                self._newest_rows = epoch, np.argsort(draws.random_raw(len(self._rows_P3)), kind="stable")
            here_R = epochs_R == epoch
            pieces_R[here_R] = self._newest_rows[1][places_R[here_R]]
        return filled(self.tokens, self._rows_P3[pieces_R], self.context)

    def _divide(self) -> np.ndarray:
        """Return the first piece of each step [S + 1] and the end of the last, of pieces from the longest on."""
        positions, bounds = self.batch_size * self.context, [0]
        while bounds[-1] < len(self._lengths_P):
            bounds.append(bounds[-1] + positions // int(self._lengths_P[bounds[-1]]))
        return np.minimum(bounds, len(self._lengths_P))

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of the steps [S] of a pass, and the pieces [P] with those of equal length shuffled."""
        if self._newest is None or self._newest[0] != epoch:
            draws = np.random.Philox(np.random.SeedSequence((self.seed, epoch)))
            steps_S = np.argsort(draws.random_raw(self.steps_per_epoch), kind="stable")
            pieces_P = np.lexsort((draws.random_raw(len(self._lengths_P)), -self._lengths_P))
            self._newest = epoch, steps_S, pieces_P
        return self._newest[1:]
