"""The state that a model carries from one sequence of tokens to the next, and operations on it for every model.

A state is a nested structure of tuples, named tuples, tensors and ``None`` (nothing carried yet). The first dimension
of every tensor is the batch.
"""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lmlab.errors import UserError


class LanguageModelState(NamedTuple):
    """The state of a whole model.

    Attributes:
        position: [B] int64, number of tokens that each sequence has read so far.
        blocks: states of the blocks.
        recent: the last tokens [B, N], plus 1 each, where the model has an n-gram embedding.
    """

    position: Tensor
    blocks: tuple[Any, ...]
    recent: tuple[Tensor, ...] = ()


class Output(NamedTuple):
    """The result of ``model(tokens, state)``.

    Attributes:
        hidden: [B, T, D], one hidden vector after each token.
        state: after the last token.
        auxiliary: in training, losses of parts of the network by name, each a scalar to be added to the loss and a mean
            over the sequences of the batch.
    """

    hidden: Tensor
    state: LanguageModelState
    auxiliary: dict[str, Tensor] = {}


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens read so far, [B, K, T, H] each; the only kind of state that grows."""

    keys: Tensor
    values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> "KeyValueCache":
        """Return a cache with the keys and values of more tokens appended; this cache does not change.

        A cache without room (see :func:`with_room`) is copied. In a cache with room, keys and values of a single token
        are written after the last ones, unless they need a gradient.
        """
        return KeyValueCache(_append(self.keys, keys), _append(self.values, values))


def with_room(state: Any) -> Any:
    """Return ``state`` with room in its key-value caches, so that tokens can be appended without a copy."""
    if isinstance(state, KeyValueCache):
        return KeyValueCache(_with_room(state.keys), _with_room(state.values))
    return _like(state, [with_room(part) for part in state]) if isinstance(state, tuple) else state


def select_with_room(state: Any, rows: Tensor) -> Any:
    """Return the state of ``rows`` [R] of the batch, in that order, with room in its key-value caches.

    The same as ``with_room(select(state, rows))`` with one copy in place of two.
    """
    if isinstance(state, KeyValueCache):
        return KeyValueCache(_with_room(state.keys, rows), _with_room(state.values, rows))
    if isinstance(state, tuple):
        return _like(state, [select_with_room(part, rows) for part in state])
    return select(state, rows)


def reorder(state: Any, rows: Tensor) -> Any:
    """Return the state of as many ``rows`` [B] as there are, in that order; its key-value caches are changed in place.

    Rows that stay where they are cost nothing, which makes this cheaper than :func:`select_with_room`.
    """
    if isinstance(state, KeyValueCache):
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        for x_BKTH in state:
            x_BKTH[moved] = x_BKTH[rows[moved]]
        return state
    if isinstance(state, tuple):
        return _like(state, [reorder(part, rows) for part in state])
    return select(state, rows)


def _with_room(x_BKTH: Tensor, rows: Tensor | None = None) -> Tensor:
    """Return a view of the first T places of a buffer of twice as many, which records how many of them are in use.

    Args:
        rows: sequences whose values are copied; ``None``: all.
    """
    B, K, T, H = x_BKTH.shape
    buffer_BKRH = x_BKTH.new_empty(B if rows is None else len(rows), K, max(2 * T, 32), H)
    if rows is None:
        buffer_BKRH[:, :, :T] = x_BKTH
    else:
        torch.index_select(x_BKTH, 0, rows, out=buffer_BKRH[:, :, :T])
    buffer_BKRH.in_use = T  # type: ignore[attr-defined]
    return buffer_BKRH[:, :, :T]


def _append(x_BKTH: Tensor, more_BKTH: Tensor) -> Tensor:
    buffer: Any = None if torch.is_grad_enabled() or more_BKTH.shape[2] > 1 else x_BKTH._base
    if not hasattr(buffer, "in_use"):
        return torch.cat([x_BKTH, more_BKTH], 2)
    begin = x_BKTH.storage_offset() // x_BKTH.stride(2)
    end = begin + x_BKTH.shape[2]
    if buffer.in_use > end or end == buffer.shape[2]:  # another state continues this one, or there is no room
        buffer, begin, end = _with_room(x_BKTH)._base, 0, end - begin
    buffer[:, :, end] = more_BKTH[:, :, 0]
    buffer.in_use = end + 1
    return cast(Tensor, buffer[:, :, begin : end + 1])


def map_tensors(function: Callable[[Tensor], Any], state: Any) -> Any:
    """Return ``state`` with ``function`` applied to every tensor.

    Raises:
        UserError: something in it is neither a tensor, a number, ``None`` nor a tuple of such things.
    """
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, tuple):
        return _like(state, [map_tensors(function, part) for part in state])
    if state is None or isinstance(state, (int, float, str)):
        return state
    raise UserError(f"a mixer's state holds a {type(state).__name__}: expected tensors, numbers and tuples of them")


def _like(state: tuple[Any, ...], parts: list[Any]) -> Any:
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def tensors(state: Any) -> list[Tensor]:
    """Return every tensor in ``state``."""
    leaves: list[Tensor] = []
    map_tensors(leaves.append, state)
    return leaves


def detach(state: Any) -> Any:
    """Detach a state from the graph, between two batches of truncated back-propagation through time."""
    return map_tensors(Tensor.detach, state)


def select(state: Any, rows: Tensor) -> Any:
    """Return the state of ``rows`` [R] of the batch, in that order; a row may be repeated."""
    return map_tensors(lambda tensor: tensor[rows], state)


def values(state: Any) -> list[Tensor]:
    """Return every floating-point tensor in ``state``: all but the counts of tokens read."""
    return [tensor for tensor in tensors(state) if tensor.is_floating_point()]


def size_in_bytes(state: Any) -> int:
    """Return how much memory the :func:`values` of ``state`` take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in values(state))


def has_room(state: LanguageModelState | None, length: int, max_positions: int | None) -> bool:
    """Return whether ``length`` more tokens can be read before the positions of a model end (``None``: never)."""
    return state is None or max_positions is None or int(state.position.max()) + length <= max_positions


def crop(state: Any, length: int) -> Any:
    """Keep the last ``length`` tokens of every key-value cache; a state of constant size does not change."""
    if isinstance(state, KeyValueCache):
        first = max(0, state.keys.shape[2] - length)
        return KeyValueCache(state.keys[:, :, first:], state.values[:, :, first:])
    if isinstance(state, tuple):
        return _like(state, [crop(part, length) for part in state])
    return state


def caches(state: Any) -> list[KeyValueCache]:
    """Return every key-value cache in ``state``."""
    if isinstance(state, KeyValueCache):
        return [state]
    return [cache for part in state for cache in caches(part)] if isinstance(state, tuple) else []


def leaves(state: Any) -> list[Any]:
    """Return the tensors (on the CPU) and numbers of ``state`` in order, as a checkpoint stores them."""
    if isinstance(state, tuple):
        return [leaf for part in state for leaf in leaves(part)]
    return [state.cpu() if isinstance(state, Tensor) else state]


def with_leaves(state: Any, saved: list[Any], device: torch.device) -> Any:
    """Undo :func:`leaves`: return a state with the structure of ``state`` and the leaves ``saved``, on ``device``.

    Raises:
        UserError: there are more or fewer leaves than the state has.
    """
    saved = _of_earlier_version(saved, leaves(state))
    if len(saved) != len(leaves(state)):
        raise UserError("the carried state belongs to another architecture")
    remaining = iter(saved)

    def filled(part: Any) -> Any:
        if isinstance(part, tuple):
            return _like(part, [filled(inner) for inner in part])
        leaf = next(remaining)
        return leaf.to(device) if isinstance(leaf, Tensor) else leaf

    return filled(state)


def _of_earlier_version(saved: list[Any], fresh: list[Any]) -> list[Any]:
    """Convert leaves saved by earlier versions to the current format.

    The count of tokens read was one number for all sequences, and the last leaf was a name. Later, states of the
    transformers library had numbers between their tensors.
    """
    if not saved or not isinstance(saved[-1], str):
        only_tensors = all(isinstance(leaf, Tensor) for leaf in fresh)
        return [leaf for leaf in saved if isinstance(leaf, Tensor)] if only_tensors else saved
    has_empty = any(leaf is None for leaf in fresh)
    saved = [leaf for leaf in saved[:-1] if leaf is not None or has_empty]
    sequences = next((len(leaf) for leaf in saved if isinstance(leaf, Tensor)), 0)
    return [
        torch.full((sequences,), leaf) if isinstance(leaf, int) and isinstance(now, Tensor) else leaf
        for leaf, now in zip_longest(saved, fresh[: len(saved)])
    ]


def join(parts: list[list[Any]]) -> list[Any]:
    """Return the :func:`leaves` of a whole batch from those of its parts, in order."""
    return [torch.cat(leaf) if isinstance(leaf[0], Tensor) else leaf[0] for leaf in zip(*parts, strict=True)]


def part(whole: list[Any], number: int, parts: int) -> list[Any]:
    """Undo :func:`join`: return the leaves of one of ``parts`` equal parts of a batch."""
    return [leaf.chunk(parts)[number].clone() if isinstance(leaf, Tensor) else leaf for leaf in whole]
