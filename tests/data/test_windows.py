import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.data.windows import READINGS, fixed_windows, read, sliding_windows
from lmlab.data.windows import parts as parts_of
from lmlab.errors import UserError

LENGTHS = st.integers(1, 60)
SMALL = st.integers(1, 20)


def stream(length: int) -> np.ndarray:
    """Ids that are their own positions, so that a target is the number of tokens before it."""
    return np.arange(1 + length, dtype=np.uint16)


def scored(batches) -> list[tuple[int, int]]:
    """Every scored position with how many tokens its row shows before it, after checking the rows' form."""
    found = []
    for batch in batches:
        assert batch.tokens.shape == batch.targets.shape
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64
        for inputs, targets in zip(batch.tokens.numpy(), batch.targets.numpy(), strict=True):
            where = np.flatnonzero(targets >= 0)
            assert (targets[where] == inputs[where] + 1).all()
            assert (np.diff(inputs[: where[-1] + 1]) == 1).all() if where.size else True
            found += [(int(targets[at]), int(at) + 1) for at in where]
    return sorted(found)


@given(LENGTHS, SMALL, SMALL)
def test_fixed_windows_score_each_token_once(length, context, batch_size):
    found = scored(fixed_windows(stream(length), context, batch_size))
    assert found == [(target, (target - 1) % context + 1) for target in range(1, length + 1)]


@given(LENGTHS, SMALL, SMALL, st.data())
def test_sliding_windows_score_each_token_once_with_enough_context(length, context, batch_size, data):
    stride = data.draw(st.integers(1, context))
    batches = list(sliding_windows(stream(length), context, stride, batch_size))
    assert all(1 <= batch.tokens.shape[0] <= batch_size for batch in batches)
    assert all(batch.tokens.shape[1] <= context for batch in batches)
    found = scored(batches)
    assert [target for target, _ in found] == list(range(1, length + 1))
    for target, seen in found:
        if target <= context:
            assert seen == target
        else:
            assert seen == context - stride + (target - context - 1) % stride + 1


@given(LENGTHS, SMALL, SMALL, st.integers(1, 8))
def test_streams_score_each_token_once_with_carried_state(length, number, context, batch_size):
    parts: list[list[int]] = []
    for batch in parts_of(stream(length), number, context, batch_size):
        rows = len(batch.tokens)
        assert rows <= batch_size
        if batch.fresh:
            parts += [[] for _ in range(rows)]
        for part, inputs, targets in zip(parts[-rows:], batch.tokens.numpy(), batch.targets.numpy(), strict=True):
            where = np.flatnonzero(targets >= 0)
            assert where.tolist() == list(range(where.size))
            assert (targets[where] == inputs[where] + 1).all()
            part += targets[where].tolist()
    assert [target for part in parts for target in part] == list(range(1, length + 1))
    assert len(parts) == min(number, length)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(LENGTHS, SMALL, SMALL)
def test_batch_size_changes_no_window(length, context, number):
    for make, arguments in (
        (fixed_windows, (context,)),
        (sliding_windows, (context, 1)),
        (parts_of, (number, context)),
    ):
        one = scored(make(stream(length), *arguments, 1))
        assert one == scored(make(stream(length), *arguments, 7)) == scored(make(stream(length), *arguments, 64))


def test_padding_is_on_the_right():
    (batch,) = fixed_windows(stream(5), 3, 4)
    assert batch.tokens.tolist() == [[0, 1, 2], [3, 4, 0]]
    assert batch.targets.tolist() == [[1, 2, 3], [4, 5, -1]]


def test_sliding_window_by_example():
    (batch,) = sliding_windows(stream(7), 4, 2, 9)
    assert batch.tokens.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 0]]
    assert batch.targets.tolist() == [[1, 2, 3, 4], [-1, -1, 5, 6], [-1, -1, 7, -1]]


def test_what_cannot_be():
    for stride in (0, 5):
        with pytest.raises(UserError, match=rf"stride={stride}: .* from 1 to the context, 4"):
            next(sliding_windows(stream(9), 4, stride, 1))
    with pytest.raises(UserError, match="context=0"):
        next(fixed_windows(stream(9), 0, 1))
    with pytest.raises(UserError, match="streams=0"):
        next(parts_of(stream(9), 0, 4, 1))


@given(st.lists(LENGTHS, min_size=1, max_size=8), SMALL, SMALL, st.data())
def test_documents_are_read_as_if_each_were_a_stream(lengths, context, batch_size, data):
    stride, starts = data.draw(st.integers(1, context)), np.cumsum([0, *lengths[:-1]])
    for way in READINGS:
        batches = list(read(stream(sum(lengths)), way, context, stride, 1, batch_size, starts))
        assert all(len(batch.tokens) <= batch_size for batch in batches)
        seen, last = [], []
        for batch in batches:
            for row, (tokens, targets) in enumerate(zip(batch.tokens.numpy(), batch.targets.numpy(), strict=True)):
                where = np.flatnonzero(targets >= 0)
                if where.size:
                    document = np.searchsorted(starts, tokens[0], side="right")
                    assert document == np.searchsorted(starts, targets[where[-1]] - 1, side="right")
                    if batch.fresh and way == "stateful":
                        assert tokens[0] == starts[document - 1]
                    if not batch.fresh:
                        assert tokens[0] == last[row] + 1
                    seen += [(int(targets[at]), int(at) + 1) for at in where]
            last = [int(tokens.max()) for tokens in batch.tokens.numpy()]
        alone = [
            (target + begin, context_of)
            for begin, length in zip(starts, lengths, strict=True)
            for target, context_of in scored(read(stream(length), way, context, stride, 1, batch_size))
        ]
        assert sorted(seen) == sorted(alone)
