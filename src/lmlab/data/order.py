"""The tokens of a training batch as a pure function of seed, step and rank.

Dimension legend: R rows of a micro-batch, T context, W windows of an epoch.
"""

import hashlib
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from lmlab.errors import UserError, check_least


class Order(ABC):
    """The order in which the tokens of a split are trained on.

    A batch depends on the arguments alone, and a step has the same rows in total for any number of ranks and
    micro-batches.

    Attributes:
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: T, tokens in a sequence.
    """

    batch_size: int
    context: int

    @abstractmethod
    def rows(self, numbers_R: np.ndarray) -> np.ndarray:
        """Return the rows [R, T + 1] int64 with these numbers, counted over all steps."""

    def starts_new_pass(self, step: int) -> bool:
        """Return whether the state of the previous step must be reset before this one."""
        return True

    def batch(self, step: int, rank: int = 0, world: int = 1, micro: int = 0, accumulate: int = 1) -> np.ndarray:
        """Return the rows [R, T + 1] int64 of one micro-batch: T tokens to read, and the one after them.

        Args:
            step: optimizer step, from 0.
            rank: number of the process, of ``world``.
            micro: number of the micro-batch of the step on this rank, of ``accumulate``.

        Raises:
            UserError: the batch size is not a multiple of ``world * accumulate``.
        """
        own = share(self.batch_size, rank, world, micro, accumulate)
        return self.rows(step * self.batch_size + np.arange(own.start, own.stop))


def check_order(seed: int, batch_size: int, context: int) -> None:
    """Refuse arguments that are out of range. Raises ``UserError``."""
    check_least(0, seed=seed)
    check_least(1, "batch.", size=batch_size, context=context)


def check_length(context: int, length: int) -> None:
    """Refuse a training split of ``length`` tokens that is shorter than one sequence. Raises ``UserError``."""
    if context > length:
        raise UserError(
            f"batch.context={context}: the training split has only {length:,} tokens; choose "
            f"batch.context={length} or less, or give more text"
        )


class TrainingOrder(Order):
    """The order in which the tokens of a split are trained on. All of them are known.

    - ``shuffled``: an epoch is a pseudo-random order of the disjoint windows of the stream, from an offset below
      ``context`` that is drawn for every epoch; each window comes once per epoch. Less than two windows are left over
      at the two ends.
    - ``contiguous``: the stream is cut into ``batch_size`` stripes, and row r of step s continues stripe r where step
      s - 1 stopped, for truncated back-propagation through time. A pass leaves out less than a window per stripe;
      every pass is the same.

    The draws use numbers that NumPy promises never to change.

    Args:
        tokens: [1 + N] ids of the split.
        seed: at least 0.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: T, tokens in a sequence.

    Raises:
        UserError: the split is shorter than one sequence (``shuffled``) or one batch (``contiguous``), or an argument
            is out of range.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        seed: int,
        batch_size: int,
        context: int,
        order: Literal["shuffled", "contiguous"] = "shuffled",
    ) -> None:
        length = len(tokens) - 1
        check_order(seed, batch_size, context)
        check_length(context, length)
        if order == "contiguous" and batch_size * context > length:
            raise UserError(
                f"batch.size={batch_size}: with batch.carry_state=true and batch.context={context} a batch takes "
                f"{batch_size * context:,} tokens, the training split has only {length:,}; choose "
                f"batch.size={length // context} or less, a smaller batch.context, or give more text"
            )
        self.tokens = np.asarray(tokens)  # plain indexing is faster than that of a memmap
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        self.order = order
        self._stripe = length // batch_size
        # One window fewer than fit without an offset, so that every epoch has the same number with any offset.
        self._windows = max(1, (length + 1) // context - 1)
        self._epoch: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Return the number of optimizer steps in an epoch; not a whole number if a step spans two epochs."""
        if self.order == "contiguous":
            return float(self._stripe // self.context)
        return self._windows / self.batch_size

    def starts_new_pass(self, step: int) -> bool:
        return self.order == "shuffled" or step % (self._stripe // self.context) == 0

    def rows(self, numbers_R: np.ndarray) -> np.ndarray:
        if self.order == "contiguous":
            steps_R, rows_R = np.divmod(numbers_R, self.batch_size)
            starts_R = rows_R * self._stripe + steps_R % (self._stripe // self.context) * self.context
        else:
            starts_R = self._shuffled_starts(numbers_R)
        return self.tokens[starts_R[:, None] + np.arange(self.context + 1)].astype(np.int64)

    def _shuffled_starts(self, sequences_R: np.ndarray) -> np.ndarray:
        epochs_R, places_R = np.divmod(sequences_R, self._windows)
        starts_R = np.empty_like(sequences_R)
        for epoch in np.unique(epochs_R):
            here_R = epochs_R == epoch
            starts_R[here_R] = self._starts_of_epoch(int(epoch))[places_R[here_R]]
        return starts_R

    def _starts_of_epoch(self, epoch: int) -> np.ndarray:
        """Return the starts of the windows [W] of an epoch, in order."""
        if self._epoch is None or self._epoch[0] != epoch:
            draws = np.random.Philox(np.random.SeedSequence((self.seed, epoch)))
            offsets = min(self.context, len(self.tokens) - self._windows * self.context)
            offset = int(draws.random_raw()) % offsets
            order_W = np.argsort(draws.random_raw(self._windows), kind="stable")
            order_W *= self.context  # in place: there may be many windows
            order_W += offset
            self._epoch = epoch, order_W
        return self._epoch[1]


def share(batch_size: int, rank: int, world: int, micro: int, accumulate: int) -> slice:
    """Return the slice of a step's rows for one micro-batch on one rank.

    Raises:
        UserError: the batch size is not a multiple of ``world * accumulate``.
    """
    parts = world * accumulate
    if batch_size % parts:
        raise UserError(
            f"batch.size={batch_size}: expected a multiple of {parts} "
            f"(devices x accumulated micro-batches = {world} x {accumulate})"
        )
    rows = batch_size // parts
    first = (rank * accumulate + micro) * rows
    return slice(first, first + rows)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of all random draws of one micro-batch on one rank; different for any (seed, step, rank)."""
    digest = hashlib.blake2b(f"{seed},{step},{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
