"""The caches of the transformers library as states (see ``lmlab.models.state``), and back.

The library's cache is a list of layers, objects that a call changes. This module does not depend on the kinds
of layers: a state holds the tensors among a layer's attributes, in the order of their names, and is put into a copy of
a layer that has read a token. Keys and values become a ``KeyValueCache``, so that they can be cropped (the library's
own ``crop`` removes the newest tokens); all else must be of constant size.

Dimension legend: B sequences, K key-value heads, T tokens, H width of a head.
"""

import copy
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import pad

from lmlab.models import state as model_state
from lmlab.models.state import KeyValueCache, LanguageModelState

_KEYS = ("keys", "values", "indexer_keys")


def to_state(cache: Any) -> tuple[Any, ...]:
    """Return the tensors in a cache of the library, layer by layer."""
    return tuple(_layer_state(layer) for layer in cache.layers)


def _layer_state(layer: Any) -> tuple[Any, ...]:
    state: list[Any] = []
    if getattr(layer, "keys", None) is not None:
        state.append(KeyValueCache(layer.keys, layer.values))
    if getattr(layer, "indexer_keys", None) is not None:  # [B, T, H]: they grow with the keys and have no values
        state.append(KeyValueCache(layer.indexer_keys[:, None], layer.indexer_keys[:, None, :, :0]))
    return (*state, *(holder[key] for holder, key in _places(layer)))


def from_state(example: Any, state: LanguageModelState) -> Any:
    """Return a new cache with the tensors of ``state`` in it.

    Those that are not keys and values are copied, because models write into them: the state does not change.

    Args:
        example: a cache that has read a token, for everything in it but tensors.
    """
    cache = copy.copy(example)
    cache.layers = [copy.copy(layer) for layer in example.layers]
    for layer, tensors in zip(cache.layers, state.blocks, strict=True):
        vars(layer).update({name: dict(value) for name, value in vars(layer).items() if isinstance(value, dict)})
        remaining = iter(tensors)
        if getattr(layer, "keys", None) is not None:
            layer.keys, layer.values = next(remaining)
            if hasattr(layer, "cumulative_length"):
                # A window that was cropped is read as if the sequence began with it.
                read = layer.keys.shape[2]
                position = read if state.position.is_meta else int(state.position[0])
                layer.cumulative_length = position if read >= min(position, layer.sliding_window - 1) else read
        if getattr(layer, "indexer_keys", None) is not None:
            layer.indexer_keys = next(remaining).keys[:, 0]
        for holder, key in _places(layer):
            holder[key] = next(remaining).clone()
        if tensors:
            first = model_state.tensors(tensors)[0]
            layer.device, layer.dtype = first.device, first.dtype
    return cache


def keep_gradients(cache: Any) -> Any:
    """Return ``cache`` with layers that replace the states of recurrences and convolutions.

    The library overwrites states that the backward pass needs.
    """
    for layer in cache.layers:
        if hasattr(layer, "recurrent_states"):
            layer.update_recurrent_state = MethodType(_update_recurrent_state, layer)
            layer.update_conv_state = MethodType(_update_conv_state, layer)
    return cache


def saving_copies(cache: Any) -> Any:
    """Return a context in which the backward pass keeps copies of the states in ``cache``.

    The library's code for single tokens overwrites them with any cache.
    """
    states = [holder[key] for layer in cache.layers for holder, key in _places(layer)]
    written = {tensor.untyped_storage().data_ptr() for tensor in states}

    def pack(tensor: Tensor) -> Tensor:
        return tensor.clone() if tensor.untyped_storage().data_ptr() in written else tensor

    return saved_tensors_hooks(pack, lambda tensor: tensor)


def window(layer: Any) -> int | None:
    """Return how many keys a layer of a cache keeps at most; ``None``: all."""
    size = getattr(layer, "sliding_window", None)
    return None if size is None else size - 1


class LayerSize:
    """The size of one layer's state, from its state after one token of two sequences."""

    def __init__(self, state: Any, window: int | None) -> None:
        caches = [part for part in state if isinstance(part, KeyValueCache)]
        self.window = window
        self.per_token = sum(part.numel() for cache in caches for part in cache) // 2
        self.constant = sum(part.numel() for part in model_state.tensors(state)) // 2 - self.per_token
        self.head_widths = sum(part.shape[3] for cache in caches for part in cache)

    def kept(self, context: int) -> int:
        """Return the number of keys of a head after ``context`` tokens."""
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


def _places(layer: Any) -> list[tuple[dict[Any, Any], Any]]:
    """Return the places of a layer's tensors of constant size: dictionaries and keys."""
    places: list[tuple[dict[Any, Any], Any]] = []
    for name, value in sorted(vars(layer).items()):
        places += [(value, key) for key in value] if isinstance(value, dict) else [(vars(layer), name)]
    return [(d, k) for d, k in places if k not in _KEYS and isinstance(d[k], Tensor) and d[k].ndim > 0]
