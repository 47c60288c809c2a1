import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.models.state import (
    KeyValueCache,
    LanguageModelState,
    crop,
    detach,
    leaves,
    reorder,
    select,
    select_with_room,
    size_in_bytes,
    tensors,
    with_leaves,
    with_room,
)


def example(batch: int = 3, length: int = 5) -> LanguageModelState:
    """Of a hybrid: a recurrent block, an attention block, and a block that carries nothing."""
    cache = KeyValueCache(torch.randn(batch, 2, length, 4), torch.randn(batch, 2, length, 4))
    position = torch.full((batch,), length)
    return LanguageModelState(position, ((torch.randn(batch, 1, 6), torch.randn(batch, 1, 6)), (position, cache), None))


@given(st.integers(0, 8), st.integers(0, 8))
def test_crop_keeps_the_newest_tokens_of_caches_only(length, kept):
    state = example(length=length)
    cropped = crop(state, kept)
    assert torch.equal(cropped.blocks[1][1].keys, state.blocks[1][1].keys[:, :, max(0, length - kept) :])
    assert torch.equal(cropped.blocks[1][1].values, state.blocks[1][1].values[:, :, max(0, length - kept) :])
    assert cropped.blocks[0] == state.blocks[0]
    assert cropped.position.tolist() == cropped.blocks[1][0].tolist() == [length] * 3 and cropped.blocks[2] is None
    assert type(cropped) is LanguageModelState and type(cropped.blocks[1][1]) is KeyValueCache


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_select_takes_rows_of_every_tensor(rows):
    state = example()
    for before, after in zip(tensors(state), tensors(select(state, torch.tensor(rows))), strict=True):
        assert torch.equal(after, torch.stack([before[row] for row in rows]))


def test_detach_cuts_the_graph_and_keeps_the_values():
    state = (torch.ones(2, requires_grad=True) * 3, None)
    assert detach(state)[0].tolist() == [3, 3]
    assert not detach(state)[0].requires_grad


def test_bytes_are_counted():
    assert size_in_bytes(example()) == 4 * (2 * 3 * 6 + 2 * 3 * 2 * 5 * 4)
    assert size_in_bytes((torch.zeros(7, dtype=torch.float64), 3, None)) == 56


def test_a_state_survives_a_checkpoint(tmp_path):
    state = example()
    torch.save(leaves(state), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    loaded = with_leaves(example(batch=1, length=1), saved, torch.device("cpu"))
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)
    assert type(loaded) is LanguageModelState and type(loaded.blocks[1][1]) is KeyValueCache
    with pytest.raises(UserError, match="the carried state belongs to another architecture"):
        with_leaves(example().blocks, saved, torch.device("cpu"))


def test_a_state_that_an_earlier_version_saved_is_read():
    state = example(batch=3, length=5)
    saved = [5 if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.int64 else leaf for leaf in leaves(state)]
    loaded = with_leaves(example(batch=1, length=1), [*saved, "architecture"], torch.device("cpu"))
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)


def test_numbers_between_the_tensors_that_an_earlier_version_saved_are_left_out():
    state = LanguageModelState(
        torch.full((3,), 5), ((KeyValueCache(torch.randn(3, 2, 5, 4), torch.randn(3, 2, 5, 4)),),)
    )
    position, keys, values = leaves(state)
    loaded = with_leaves(state, [position, keys, values, None, True, 3], torch.device("cpu"))
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)


@pytest.mark.parametrize("nothing", [None, ()])
def test_an_empty_state_is_a_state(nothing):
    assert select(nothing, torch.tensor([0])) == crop(nothing, 1) == detach(nothing) == nothing
    assert size_in_bytes(nothing) == 0


def test_what_is_no_state_is_refused():
    with pytest.raises(UserError, match="holds a list: expected tensors, numbers and tuples"):
        detach((torch.zeros(1), [torch.zeros(1)]))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2), st.integers(1, 50)), min_size=1, max_size=40))
@torch.no_grad()
def test_tokens_that_are_appended_to_any_cache_change_no_other(steps):
    """Each step goes on from any cache so far, by one or two tokens, and crops; lists of numbers say what is right."""
    first = torch.arange(3.0).view(1, 1, 3, 1).expand(2, 2, 3, 2)
    made = [(with_room(KeyValueCache(first, -first)), [0.0, 1.0, 2.0])]
    for number, (start, length, kept) in enumerate(steps):
        cache, tokens = made[start % len(made)] if start else made[-1]
        more = torch.full((2, 2, length, 2), 3.0 + number)
        made.append((crop(cache.append(more, -more), kept), [*tokens, *[3.0 + number] * length][-kept:]))
    for cache, tokens in made:
        expected = torch.tensor(tokens).view(1, 1, -1, 1).expand(2, 2, -1, 2)
        assert torch.equal(cache.keys, expected) and torch.equal(cache.values, -expected)


@torch.no_grad()
def test_a_cache_with_room_is_seldom_copied():
    one = torch.zeros(2, 2, 1, 2)
    cache, buffers = with_room(KeyValueCache(one, one)), set()
    for _ in range(200):
        cache = crop(cache.append(one, one), 80)
        buffers.add(cache.keys.untyped_storage().data_ptr())
    assert len(buffers) <= 5 and cache.keys.untyped_storage().nbytes() <= 4 * 2 * 2 * 2 * 160


def test_what_is_appended_in_training_keeps_its_gradient():
    one = torch.ones(1, 1, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(with_room(KeyValueCache(2 * one, one)).append(3 * one, one).keys.sum(), one)
    assert gradient.item() == 5


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_selected_rows_have_room_and_are_those_of_the_state(rows):
    state = example()
    with torch.no_grad():
        for change in (select_with_room, reorder) if len(rows) == 3 else (select_with_room,):
            # Of a cache that is cropped, in a buffer with room.
            changed = change(crop(with_room(state), 4), torch.tensor(rows))
            for one, other in zip(tensors(changed), tensors(select(crop(state, 4), torch.tensor(rows))), strict=True):
                assert torch.equal(one, other)
            more = torch.randn(len(rows), 2, 1, 4)
            _, (_, cache), _ = changed.blocks
            longer = cache.append(more, more)
            assert torch.equal(longer.keys, torch.cat([cache.keys, more], 2))
            assert longer.keys.data_ptr() == cache.keys.data_ptr()
