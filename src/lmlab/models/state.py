"""What a model carries from one stretch of tokens to the next, and what can be done with it whatever the model.

A state is a nested structure of tuples, named tuples, tensors, numbers, texts and ``None`` (nothing carried yet). The
first dimension of every tensor is the batch.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmlab.errors import UserError


class LanguageModelState(NamedTuple):
    """The state of a whole model: how many tokens it has read, every block's state, which architecture left it, and
    the tokens that its n-gram embedding is to know of, [B, N], if it has one."""

    position: int
    blocks: tuple[Any, ...]
    architecture: str = ""
    recent: Tensor | None = None


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens read so far, [B, K, T, H] each; the only kind of state that grows."""

    keys: Tensor
    values: Tensor


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
    found: list[Tensor] = []
    map_tensors(found.append, state)
    return found


def detach(state: Any) -> Any:
    """Cut the graph: what truncated back-propagation through time does between two batches."""
    return map_tensors(Tensor.detach, state)


def select(state: Any, rows: Tensor) -> Any:
    """Return the state of ``rows`` [R] of the batch, in that order; a row may come several times."""
    return map_tensors(lambda tensor: tensor[rows], state)


def check(state: LanguageModelState, architecture: str, sequences: int) -> None:
    """Refuse a state that another architecture left, or of another number of sequences. Raises ``UserError``."""
    if state.architecture != architecture:
        raise UserError("state: it is of another architecture than the model that is to read on from it")
    sizes = {tensor.shape[0] for tensor in tensors(state)}
    if not sizes <= {sequences}:
        raise UserError(f"state: it is of {min(sizes)} sequences, but there are {sequences} to read on")


def size_in_bytes(state: Any) -> int:
    """Return how much memory the tensors of ``state`` take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(state))


def crop(state: Any, length: int) -> Any:
    """Keep the last ``length`` tokens of every key-value cache; a state of constant size stays as it is."""
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
    """Return the tensors (on the CPU) and numbers of ``state`` in order: what a checkpoint may hold."""
    if isinstance(state, tuple):
        return [leaf for part in state for leaf in leaves(part)]
    return [state.cpu() if isinstance(state, Tensor) else state]


def with_leaves(state: Any, found: Iterator[Any], device: torch.device) -> Any:
    """Undo :func:`leaves`: return a state built as ``state`` is, with the leaves ``found``, on ``device``."""
    if isinstance(state, tuple):
        return _like(state, [with_leaves(part, found, device) for part in state])
    leaf = next(found, None)  # earlier versions had no n-gram embeddings
    return leaf.to(device) if isinstance(leaf, Tensor) else leaf


def join(parts: list[list[Any]]) -> list[Any]:
    """Return the :func:`leaves` of a whole batch from those of its parts, in order."""
    return [torch.cat(leaf) if isinstance(leaf[0], Tensor) else leaf[0] for leaf in zip(*parts, strict=True)]


def part(whole: list[Any], number: int, parts: int) -> list[Any]:
    """Undo :func:`join`: return the leaves of one of ``parts`` equal parts of a batch."""
    return [leaf.chunk(parts)[number].clone() if isinstance(leaf, Tensor) else leaf for leaf in whole]
