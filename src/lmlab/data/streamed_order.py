"""The order of training on a split whose end is not known yet, shard by shard.

Dimension legend: R rows of a micro-batch, T context, W windows of a shard.
"""

from collections.abc import Callable

import numpy as np

from lmlab.data.order import Order, check_length, check_order

SHARD = 1 << 22
"""Tokens of a shard, about. The order of every run with ``data.stream=true`` depends on it: never change it."""

Ids = Callable[[int], tuple[np.ndarray, bool]]
"""Return the first ids of a split, at least as many as given or all, and whether they are all."""


class StreamedOrder(Order):
    """The order in which the tokens of a split are trained on while they are still being prepared.

    The stream is cut into disjoint windows from an offset below ``context`` that is drawn for every epoch; the last
    window that would fit is left out, so that every epoch has the same number. ``SHARD // context`` windows after each
    other are a shard. An epoch takes the shards in order, and the windows of each in a pseudo-random order; a row
    therefore needs nothing behind its shard, and the first epoch is known before the end of the stream.

    How much of the stream is there changes nothing but the time of waiting. The draws use numbers that NumPy promises
    never to change.

    Args:
        ids: returns the first of the ids [1 + N] of the split; it waits for them.
        seed: at least 0.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: T, tokens in a sequence.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, ids: Ids, seed: int, batch_size: int, context: int) -> None:
        check_order(seed, batch_size, context)
        self.ids = ids
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        self.windows = max(1, SHARD // context)
        """W: the windows of every shard but the last."""
        self._newest: tuple[tuple[int, int], np.ndarray] | None = None

    def length_of(self, shards: int) -> int:
        """Return how many ids the first shards need."""
        return (shards * self.windows + 1) * self.context

    def rows(self, numbers_R: np.ndarray) -> np.ndarray:
        ids, whole = self.ids(self.length_of(int(numbers_R.max()) // self.windows + 1))
        if whole:
            check_length(self.context, len(ids) - 1)
            # As many as fit with any offset.
            total = max(1, len(ids) // self.context - 1)
            offsets = min(self.context, len(ids) - total * self.context)
        else:
            total, offsets = int(numbers_R.max()) // self.windows * self.windows + self.windows, self.context
        starts_R = np.empty_like(numbers_R)
        epochs_R, places_R = np.divmod(numbers_R, total)
        shards_R, places_R = np.divmod(places_R, self.windows)
        for epoch, shard in sorted({*zip(epochs_R.tolist(), shards_R.tolist(), strict=True)}):
            here_R = (epochs_R == epoch) & (shards_R == shard)
            order_W = self._order(epoch, shard, min(self.windows, total - shard * self.windows))
            offset = int(_draws(self.seed, epoch).random_raw()) % offsets
            windows_R = shard * self.windows + order_W[places_R[here_R]]
            starts_R[here_R] = offset + windows_R * self.context
        return ids[starts_R[:, None] + np.arange(self.context + 1)].astype(np.int64)

    def _order(self, epoch: int, shard: int, windows: int) -> np.ndarray:
        """Return the windows [W] of a shard in the order of an epoch, by their number in the shard."""
        if self._newest is None or self._newest[0] != (epoch, shard):
            # One more, because SeedSequence takes (a, b, 0) for (a, b), from which the offset is drawn.
            keys_W = _draws(self.seed, epoch, shard + 1).random_raw(windows)
            self._newest = (epoch, shard), np.argsort(keys_W, kind="stable")
        return self._newest[1]


def _draws(*entropy: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence(entropy))
