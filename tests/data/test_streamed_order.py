import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data import streamed_order
from lmlab.data.streamed_order import StreamedOrder
from lmlab.errors import UserError

SHARD = 40
SIZES = st.tuples(st.integers(0, 2**40), st.integers(1, 12), st.integers(1, 50), st.integers(0, 400))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(streamed_order, "SHARD", SHARD)


def stream(length: int) -> np.ndarray:
    """Ids that are their own positions."""
    return np.arange(1 + length, dtype=np.uint32)


class Growing:
    """A stream of which no more is there than is needed.

    Attributes:
        needed: the most ids that a call needed.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.needed = 0

    def __call__(self, least: int) -> tuple[np.ndarray, bool]:
        self.needed = max(self.needed, least)
        return stream(self.length)[: self.needed], self.needed > self.length


def by_definition(length: int, seed: int, context: int, epochs: int) -> list[int]:
    """The starts of all windows, in order: that of each epoch's offset, of each shard's windows."""
    windows, starts = max(1, (length + 1) // context - 1), []
    for epoch in range(epochs):
        most = min(context, length + 1 - windows * context)
        offset = np.random.Philox(np.random.SeedSequence((seed, epoch))).random_raw() % most
        of_shard = max(1, SHARD // context)
        for shard, first in enumerate(range(0, windows, of_shard)):
            numbers = range(first, min(first + of_shard, windows))
            draws = np.random.Philox(np.random.SeedSequence((seed, epoch, shard + 1)))
            keys = {number: draws.random_raw() for number in numbers}
            starts += [offset + number * context for number in sorted(numbers, key=keys.__getitem__)]
    return starts


@given(SIZES)
def test_the_order_by_its_definition_however_much_is_there(sizes):
    seed, batch_size, context, extra = sizes
    length = context + extra
    expected = by_definition(length, seed, context, epochs=2)
    steps = len(expected) // batch_size
    for ids in (Growing(length), lambda _: (stream(length), True)):
        order = StreamedOrder(ids, seed, batch_size, context)
        rows = [order.batch(step) for step in range(steps)]
        assert [start for batch in rows for start in batch[:, 0]] == expected[: steps * batch_size]
        assert all(batch.dtype == np.int64 and (np.diff(batch, axis=1) == 1).all() for batch in rows)


@given(SIZES, st.lists(st.integers(0, 50), max_size=5))
def test_earlier_calls_change_nothing(sizes, steps):
    seed, batch_size, context, extra = sizes
    used = StreamedOrder(Growing(context + extra), seed, batch_size, context)
    for step in steps:
        fresh = StreamedOrder(Growing(context + extra), seed, batch_size, context)
        assert used.batch(step).tolist() == fresh.batch(step).tolist()


def test_a_batch_needs_its_own_shards_and_one_more_window():
    ids = Growing(1000)
    order = StreamedOrder(ids, 0, 4, 10)  # a shard has four windows
    order.batch(0)
    assert ids.needed == SHARD + 10 == order.length_of(1)
    order.batch(1)
    assert ids.needed == 2 * SHARD + 10
    order.batch(24)  # in the second epoch
    assert ids.needed > 1000


def test_ranks_and_micro_batches_share_the_rows_of_a_step():
    order = StreamedOrder(Growing(500), 7, 12, 6)
    parts = [order.batch(5, rank, 2, micro, 3) for rank in range(2) for micro in range(3)]
    assert np.concatenate(parts).tolist() == order.batch(5).tolist()


def test_order_never_changes(monkeypatch):
    monkeypatch.undo()
    assert streamed_order.SHARD == 4_194_304
    rows = StreamedOrder(lambda _: (stream(5000), True), 42, 8, 16).batch(1234)
    assert rows[:, 0].tolist() == [1757, 3373, 2605, 3181, 2173, 4253, 1053, 1837]


@pytest.mark.parametrize(
    ("length", "arguments", "message"),
    [
        (100, (0, 2, 101), r"batch\.context=101: .* only 100 tokens; choose batch\.context=100 or less"),
        (100, (-1, 2, 5), "seed=-1"),
        (100, (0, 0, 5), r"batch\.size=0"),
    ],
)
def test_refusals(length, arguments, message):
    with pytest.raises(UserError, match=message):
        StreamedOrder(Growing(length), *arguments).batch(0)
