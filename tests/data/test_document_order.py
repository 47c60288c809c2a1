"""Documents that are read one by one: every piece once per pass, the same for any division."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.document_order import DocumentOrder
from lmlab.errors import UserError

DOCUMENTS = st.lists(st.integers(1, 40), min_size=1, max_size=30)
"""Numbers of scored tokens of documents."""
SIZES = st.tuples(DOCUMENTS, st.integers(0, 2**40), st.integers(1, 6), st.integers(1, 12))


def stream(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids that are their own positions, and the starts of documents."""
    return np.arange(1 + sum(lengths), dtype=np.uint32), np.cumsum([0, *lengths[:-1]])


def order_of(sizes: tuple[list[int], int, int, int]) -> DocumentOrder:
    lengths, seed, batch_size, context = sizes
    return DocumentOrder(*stream(lengths), seed, batch_size, context)


def pieces(lengths: list[int], context: int) -> set[tuple[int, int]]:
    """Return first input and end of the inputs of every piece, one document at a time."""
    expected, begin = set(), 0
    for length in lengths:
        expected |= {(begin + first, begin + min(first + context, length)) for first in range(0, length, context)}
        begin += length
    return expected


def read(batch) -> list[tuple[int, int]]:
    """Return first input and end of the inputs of every row, after checking its form."""
    rows = []
    for tokens_L, targets_L in zip(batch.tokens.numpy(), batch.targets.numpy(), strict=True):
        length = int((targets_L >= 0).sum())
        assert (targets_L[:length] == tokens_L[:length] + 1).all()
        assert (np.diff(tokens_L[:length]) == 1).all()
        rows += [(int(tokens_L[0]), int(tokens_L[0]) + length)] if length else []
    assert batch.where.tolist() == np.flatnonzero(batch.targets.numpy() >= 0).tolist()
    return rows


@given(SIZES)
def test_every_piece_comes_once_per_pass_within_the_positions_of_a_step(sizes):
    lengths, _, batch_size, context = sizes
    order, expected = order_of(sizes), pieces(lengths, context)
    for epoch in range(3):
        rows = []
        for place in range(order.steps_per_epoch):
            batch = order.batch(epoch * order.steps_per_epoch + place)
            assert batch.fresh and batch.share == batch.row_share == 1
            assert batch.tokens.numel() <= batch_size * context
            rows += read(batch)
        assert len(rows) == len(expected) and set(rows) == expected
    assert order.tokens_per_step * order.steps_per_epoch == pytest.approx(sum(lengths))


@given(SIZES, st.integers(0, 200), st.integers(1, 3), st.integers(1, 3))
def test_ranks_and_micro_batches_share_the_rows_of_a_step(sizes, step, world, accumulate):
    lengths, seed, batch_size, context = sizes
    order = order_of((lengths, seed, batch_size * world * accumulate, context))
    whole = order.batch(step)
    parts = [order.batch(step, rank, world, micro, accumulate) for rank in range(world) for micro in range(accumulate)]
    assert [row for part in parts for row in read(part)] == read(whole)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert sum(part.row_share for part in parts) == pytest.approx(1)
    scored = int((whole.targets >= 0).sum())
    for part in parts:
        assert part.share == pytest.approx(int((part.targets >= 0).sum()) / scored)


@given(SIZES, st.lists(st.integers(0, 200), max_size=5))
def test_what_was_asked_before_changes_nothing(sizes, steps):
    used = order_of(sizes)
    for step in steps:
        assert read(used.batch(step)) == read(order_of(sizes).batch(step))


@given(SIZES, st.integers(0, 2**40))
def test_lengths_of_steps_do_not_depend_on_the_seed(sizes, other):
    lengths, _, batch_size, context = sizes
    orders = order_of(sizes), order_of((lengths, other, batch_size, context))
    first, second = (
        sorted(sorted(end - begin for begin, end in read(order.batch(step))) for step in range(order.steps_per_epoch))
        for order in orders
    )
    assert first == second


@given(SIZES)
def test_rows_of_a_mixture_are_every_piece_once_per_pass(sizes):
    lengths, _, _, context = sizes
    order, expected = order_of(sizes), pieces(lengths, context)
    tokens_RT, targets_RT = order.rows(np.arange(2 * len(expected)))
    assert tokens_RT.shape == targets_RT.shape == (2 * len(expected), context)
    found = [(int(row[0]), int(row[0]) + int((own >= 0).sum())) for row, own in zip(tokens_RT, targets_RT, strict=True)]
    for epoch in (found[: len(expected)], found[len(expected) :]):
        assert set(epoch) == expected


def test_passes_and_seeds_have_different_orders():
    order, other = (order_of(([5, 9, 3, 7] * 20, seed, 2, 8)) for seed in (1, 2))
    steps = order.steps_per_epoch

    def first_pass(of, begin):
        return [read(of.batch(begin + place)) for place in range(steps)]

    assert first_pass(order, 0) != first_pass(order, steps)
    assert first_pass(order, 0) != first_pass(other, 0)


def test_a_step_with_fewer_rows_than_ranks_scores_nothing_on_some():
    order = DocumentOrder(*stream([3]), 1, 4, 8)
    parts = [order.batch(0, rank, 4) for rank in range(4)]
    assert sorted(part.share for part in parts) == [0, 0, 0, 1]
    assert all(part.targets.max() < 0 and len(part.where) == 0 for part in parts if not part.share)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(UserError, match="batch.context=0: expected at least 1"):
        DocumentOrder(*stream([3]), 1, 4, 0)
    with pytest.raises(UserError, match="batch.size=4: expected a multiple of 3"):
        DocumentOrder(*stream([3]), 1, 4, 8).batch(0, world=3)


def test_a_batch_is_as_wide_as_its_longest_row():
    order = DocumentOrder(*stream([2, 2, 2, 2, 8]), 1, 2, 8)
    shapes = sorted(tuple(order.batch(step).tokens.shape) for step in range(order.steps_per_epoch))
    assert shapes == [(2, 8), (3, 2)]
    assert torch.equal(order.batch(0).tokens, order.batch(0).tokens)
