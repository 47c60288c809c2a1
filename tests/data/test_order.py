from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.order import TrainingOrder
from lmlab.errors import UserError


def stream(length: int) -> np.ndarray:
    """Ids that are their own positions."""
    return np.arange(1 + length, dtype=np.uint32)


SIZES = st.tuples(st.integers(0, 2**40), st.integers(1, 12), st.integers(1, 9), st.integers(0, 400))
ORDERS = st.sampled_from(["shuffled", "contiguous"])


def build(sizes, order) -> TrainingOrder:
    seed, batch_size, context, extra = sizes
    return TrainingOrder(stream(batch_size * context + extra), seed, batch_size, context, order)


@given(SIZES, ORDERS, st.integers(0, 200))
def test_rows_are_runs_of_the_stream(sizes, order, step):
    made = build(sizes, order)
    rows = made.batch(step)
    assert rows.shape == (made.batch_size, made.context + 1)
    assert rows.dtype == np.int64
    assert (np.diff(rows, axis=1) == 1).all()


@given(SIZES, ORDERS, st.integers(0, 200), st.integers(1, 3), st.integers(1, 3))
def test_ranks_and_micro_batches_share_the_rows_of_a_step(sizes, order, step, world, accumulate):
    seed, batch_size, context, extra = sizes
    made = build((seed, batch_size * world * accumulate, context, extra), order)
    parts = [made.batch(step, rank, world, micro, accumulate) for rank in range(world) for micro in range(accumulate)]
    assert np.concatenate(parts).tolist() == made.batch(step).tolist()


@given(SIZES, ORDERS, st.lists(st.integers(0, 200), max_size=5))
def test_what_was_asked_before_changes_nothing(sizes, order, steps):
    used = build(sizes, order)
    for step in steps:
        assert used.batch(step).tolist() == build(sizes, order).batch(step).tolist()


@given(SIZES)
def test_every_window_comes_once_per_epoch(sizes):
    made = build(sizes, "shuffled")
    windows = round(made.steps_per_epoch * made.batch_size)
    length = made.batch_size * made.context + sizes[3]
    assert windows * made.context > length - 2 * made.context
    rows = np.concatenate([made.batch(step) for step in range(ceil(3 * windows / made.batch_size))])
    for epoch in range(3):
        starts = np.sort(rows[epoch * windows : (epoch + 1) * windows, 0])
        assert 0 <= starts[0] < made.context
        assert (np.diff(starts) == made.context).all()


def test_epochs_and_seeds_differ():
    orders = [TrainingOrder(stream(10_000), seed, 10, 10) for seed in (0, 1)]
    windows = round(orders[0].steps_per_epoch * 10)
    assert windows == 999
    epochs = [
        np.concatenate([order.batch(step)[:, 0] for step in range(200)])[epoch * windows :][:windows] // 10
        for order in orders
        for epoch in (0, 1)
    ]
    for one in range(4):
        # Two independent permutations agree in one place on average.
        assert (epochs[one] == np.arange(windows)).sum() < 12
        for other in range(one):
            assert (epochs[one] == epochs[other]).sum() < 12


def test_offsets_cover_the_context():
    order = TrainingOrder(stream(105), 0, 1, 10)
    starts = {int(order.batch(step)[0, 0]) % 10 for step in range(1000)}
    assert starts == set(range(10))


def test_shuffled_order_by_its_definition():
    """The first draw of an epoch is its offset; the others, one per window, sort its windows."""
    order = TrainingOrder(stream(5000), 42, 8, 16)
    windows = 5001 // 16 - 1
    expected = []
    for epoch in range(3):
        draws = np.random.Philox(np.random.SeedSequence((42, epoch)))
        offset = draws.random_raw() % 16
        keys = [draws.random_raw() for _ in range(windows)]
        expected += [window * 16 + offset for window in sorted(range(windows), key=keys.__getitem__)]
    found = np.concatenate([order.batch(step)[:, 0] for step in range(len(expected) // 8)])
    assert found.tolist() == expected[: len(found)]


def test_order_never_changes():
    rows = TrainingOrder(stream(5000), 42, 8, 16).batch(1234)
    assert rows[:, 0].tolist() == [669, 1037, 3677, 877, 2509, 829, 237, 445]


@given(SIZES)
def test_contiguous_rows_go_on_where_they_stopped(sizes):
    made = build(sizes, "contiguous")
    steps = round(made.steps_per_epoch)
    for step in range(2 * steps):
        if made.starts_new_pass(step):
            assert step % steps == 0
            stripe = (len(made.tokens) - 1) // made.batch_size
            assert made.batch(step)[:, 0].tolist() == [row * stripe for row in range(made.batch_size)]
        else:
            assert made.batch(step)[:, 0].tolist() == made.batch(step - 1)[:, -1].tolist()


def test_shuffled_rows_never_carry_state():
    assert all(TrainingOrder(stream(100), 0, 2, 5).starts_new_pass(step) for step in range(5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 0, 2, 101, "shuffled"), r"batch\.context=101: .* only 100 tokens; choose batch\.context=100 or less"),
        (
            (100, 0, 21, 5, "contiguous"),
            r"batch\.size=21: .* takes 105 tokens, .* only 100; choose batch\.size=20 ",
        ),
        ((100, -1, 2, 5, "shuffled"), "seed=-1"),
        ((100, 0, 0, 5, "shuffled"), r"batch\.size=0"),
        ((100, 0, 1, 0, "shuffled"), r"batch\.context=0"),
    ],
)
def test_what_cannot_be(arguments, message):
    length, *rest = arguments
    with pytest.raises(UserError, match=message):
        TrainingOrder(stream(length), *rest)


def test_batch_that_cannot_be_shared():
    with pytest.raises(UserError, match=r"batch\.size=10: expected a multiple of 4"):
        TrainingOrder(stream(100), 0, 10, 5).batch(0, rank=1, world=2, micro=0, accumulate=2)
