"""The caches of the transformers library as states (see ``lmlab.models.state``), and back.

The library's cache is a list of layers, objects that a call changes. They are read here without knowing which kinds
there are: a state holds the tensors and whole numbers among a layer's attributes, in the order of their names, and is
put into a new layer of the same kind. Keys and values become a ``KeyValueCache``, so that they can be cropped; all
else must be of constant size.

Dimension legend: B sequences, K key-value heads, T tokens, H width of a head.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import pad

from lmlab.models import state as model_state
from lmlab.models.state import KeyValueCache

_KEYS = ("keys", "values", "indexer_keys")


def to_state(cache: Any) -> tuple[Any, ...]:
    """Return the state in a cache of the library: for each layer, its keys and values and everything else."""
    return tuple(_layer_state(layer) for layer in cache.layers)


def _layer_state(layer: Any) -> tuple[Any, ...]:
    caches: list[KeyValueCache | None] = [None, None]
    if getattr(layer, "keys", None) is not None:
        caches[0] = KeyValueCache(layer.keys, layer.values)
    if getattr(layer, "indexer_keys", None) is not None:  # [B, T, H]: they grow with the keys and have no values
        caches[1] = KeyValueCache(layer.indexer_keys[:, None], layer.indexer_keys[:, None, :, :0])
    return (*caches, *(_pack(getattr(layer, name)) for name in _names(layer)))


def from_state(cache: Any, state: tuple[Any, ...], position: int) -> Any:
    """Put ``state`` into ``cache``, which is new, and return it.

    What is not keys and values is copied, because models write into it: the state stays what it was.

    Args:
        position: how many tokens the state stands for; it may have been cropped to the keys and values of fewer.
    """
    for layer, (cached, indexer, *rest) in zip(cache.layers, state, strict=True):
        for name, part in zip(_names(layer), rest, strict=True):
            setattr(layer, name, _unpack(getattr(layer, name), part))
        if indexer is not None:
            layer.indexer_keys = indexer.keys[:, 0]
        if cached is not None:
            layer.keys, layer.values = cached
            if hasattr(layer, "cumulative_length"):
                # A window that was cropped is read as if the sequence began with it.
                read = cached.keys.shape[2]
                layer.cumulative_length = position if read >= min(position, layer.sliding_window - 1) else read
        known = [part for part in _flat((cached, *rest)) if isinstance(part, Tensor)]
        if known:
            layer.device, layer.dtype = known[0].device, known[0].dtype
    return cache


def keep_gradients(cache: Any) -> Any:
    """Return ``cache`` with layers that replace the states of recurrences and convolutions.

    The library writes into them, over what the backward pass needs.
    """
    for layer in cache.layers:
        if hasattr(layer, "recurrent_states"):
            layer.update_recurrent_state = MethodType(_update_recurrent_state, layer)
            layer.update_conv_state = MethodType(_update_conv_state, layer)
    return cache


def saving_copies(cache: Any) -> Any:
    """Return a context in which the backward pass keeps copies of the states in ``cache``.

    What the library has for single tokens writes into them, whatever the cache does.
    """
    states = [part for layer in cache.layers for part in _flat(_layer_state(layer)[2:]) if isinstance(part, Tensor)]
    written = {part.untyped_storage().data_ptr() for part in states}

    def pack(tensor: Tensor) -> Tensor:
        return tensor.clone() if tensor.untyped_storage().data_ptr() in written else tensor

    return saved_tensors_hooks(pack, lambda tensor: tensor)


def window(layer: Any) -> int | None:
    """Return how many keys a layer of a cache keeps at most; ``None``: all."""
    size = getattr(layer, "sliding_window", None)
    return None if size is None else size - 1


class LayerSize:
    """The size of what one layer carries, from its state after one token of two sequences."""

    def __init__(self, state: Any, window: int | None) -> None:
        caches = [part for part in state if isinstance(part, KeyValueCache)]
        self.window = window
        self.per_token = sum(part.numel() for cache in caches for part in cache) // 2
        self.constant = sum(part.numel() for part in model_state.tensors(state)) // 2 - self.per_token
        self.head_widths = sum(part.shape[3] for cache in caches for part in cache)

    def kept(self, context: int) -> int:
        """Keys of a head after ``context`` tokens."""
        return context if self.window is None else min(context, self.window)


def _update_recurrent_state(layer: Any, recurrent_states: Tensor, state_idx: int = 0, **options: Any) -> Tensor:
    layer.recurrent_states[state_idx] = recurrent_states
    layer.is_recurrent_states_initialized[state_idx] = True
    return recurrent_states


def _update_conv_state(
    layer: Any, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **options: Any
) -> Tensor:
    """Keep the last inputs [B, channels, kernel] of a convolution; return them with those before ``conv_states``."""
    before = layer.conv_states[state_idx] if layer.has_previous_state[state_idx] else None
    kernel = layer.conv_kernel_size[state_idx] or conv_kernel_size or conv_states.shape[-1]
    read = conv_states if before is None else torch.cat([before, conv_states], -1)
    read = pad(read, (max(0, kernel - read.shape[-1]), 0))
    layer.conv_states[state_idx] = read[..., -kernel:]
    layer.conv_kernel_size[state_idx] = kernel
    layer.has_previous_state[state_idx] = layer.is_conv_states_initialized[state_idx] = True
    return read


def _names(layer: Any) -> list[str]:
    """The attributes of a layer that may differ between two states, but for keys and values."""
    return sorted(
        name
        for name, value in vars(layer).items()
        if name not in (*_KEYS, "cumulative_length", "device", "dtype")
        and (value is None or isinstance(value, (bool, int, dict)) or (isinstance(value, Tensor) and value.ndim > 0))
    )


def _pack(value: Any) -> Any:
    return tuple(map(_pack, value.values())) if isinstance(value, dict) else value


def _unpack(fresh: Any, part: Any) -> Any:
    if isinstance(fresh, dict):
        return {key: _unpack(value, own) for (key, value), own in zip(fresh.items(), part, strict=True)}
    return part.clone() if isinstance(part, Tensor) else part


def _flat(part: Any) -> list[Any]:
    return [leaf for inner in part for leaf in _flat(inner)] if isinstance(part, tuple) else [part]
