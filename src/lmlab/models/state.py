"""What a model carries from one stretch of tokens to the next, and what can be done with it whatever the model.

A state is a nested structure of tuples, named tuples, tensors, numbers and ``None`` (nothing carried yet). The first
dimension of every tensor is the batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LanguageModelState(NamedTuple):
    """The state of a whole model: how many tokens it has read, and the state of every block's mixer."""

    position: int
    blocks: tuple[Any, ...]


class KeyValueCache(NamedTuple):
    """Keys and values of the tokens read so far, [B, K, T, H] each; the only kind of state that grows."""

    keys: Tensor
    values: Tensor


def map_tensors(function: Callable[[Tensor], Any], state: Any) -> Any:
    """Return ``state`` with ``function`` applied to every tensor."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, tuple):
        parts = [map_tensors(function, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


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


def size_in_bytes(state: Any) -> int:
    """Return how much memory the tensors of ``state`` take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(state))


def crop(state: Any, length: int) -> Any:
    """Keep the last ``length`` tokens of every key-value cache; a state of constant size stays as it is."""
    if isinstance(state, KeyValueCache):
        first = max(0, state.keys.shape[2] - length)
        return KeyValueCache(state.keys[:, :, first:], state.values[:, :, first:])
    if isinstance(state, tuple):
        parts = [crop(part, length) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


_KINDS = {kind.__name__: kind for kind in (LanguageModelState, KeyValueCache)}


def to_plain(state: Any) -> Any:
    """Return ``state`` as lists, dicts and CPU tensors, which a checkpoint may hold."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, tuple):
        return {"kind": type(state).__name__, "parts": [to_plain(part) for part in state]}
    return state


def from_plain(plain: Any, device: torch.device) -> Any:
    """Undo :func:`to_plain`."""
    if isinstance(plain, Tensor):
        return plain.to(device)
    if isinstance(plain, dict):
        parts = [from_plain(part, device) for part in plain["parts"]]
        return _KINDS[plain["kind"]](*parts) if plain["kind"] in _KINDS else tuple(parts)
    return plain
