"""Memory of training and generation, measured on the meta device without allocating it."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import state_bytes


def training_memory(
    model: LanguageModel,
    make_optimizer: Callable[[nn.Module], Optimizer],
    batch_size: int,
    context: int,
    averaged: bool = False,
) -> dict[str, int]:
    """Return the bytes of weights, gradients, optimizer state and activations in a training step.

    Args:
        model: on the meta device.
        averaged: include a moving average of the weights.
    """
    weights = _bytes(model.parameters())
    return {
        "weights": weights,
        "gradients": _bytes(parameter for parameter in model.parameters() if parameter.requires_grad),
        "optimizer state": optimizer_bytes(model, make_optimizer(model)),
        **({"moving average": average_bytes(model)} if averaged else {}),
        "activations": activation_bytes(model, batch_size, context),
    }


def generation_memory(model: LanguageModel, context: int) -> dict[str, int]:
    """Return the bytes of weights and of the state of one sequence after ``context`` tokens."""
    return {"weights": _bytes(model.parameters()), "state": state_bytes(model, context)}


def activation_bytes(model: LanguageModel, batch_size: int, context: int) -> int:
    """Return the bytes that the forward pass and the cross-entropy of a batch keep for the backward pass.

    Memory that several saved tensors share counts once, parameters do not count. Attention keeps the tensors of a fused
    kernel. torch's recurrent layers count as unrolled steps; a fused kernel may keep more or less.

    Args:
        model: on the meta device.
    """

    def saved(length: int) -> tuple[int, int]:
        tokens_BT = torch.zeros(batch_size, length, dtype=torch.int64, device="meta")

        def forward() -> None:
            model.head.cross_entropy(model(tokens_BT).hidden.flatten(0, 1), tokens_BT.flatten())

        return saved_by(forward, model)

    return at_length(saved, context)


def saved_by(forward: Callable[[], object], model: nn.Module, others: Iterable[Tensor] = ()) -> tuple[int, int]:
    """Return the bytes that autograd saves during ``forward`` of a model in training, and the number of tensors.

    Args:
        others: further tensors that do not count, like the weights and buffers of the model; read afterwards.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    training = model.training
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FusedAttention():
        forward()
    model.train(training)
    permanent = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), *others]}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in permanent), len(kept)


def at_length(saved: Callable[[int], tuple[int, int]], context: int) -> int:
    """Return the bytes that are saved for sequences of ``context`` tokens.

    A layer that works step by step is slow and saves equally much for every token: extrapolate from two short lengths.

    Args:
        saved: returns the bytes saved for sequences of a length, and the number of tensors.
    """
    short, long = LENGTHS
    if context <= long:
        return saved(context)[0]
    (fewer, tensors), (more, more_tensors) = saved(short), saved(long)
    if more_tensors <= 1.5 * tensors:
        return saved(context)[0]
    return round(more + (context - long) * (more - fewer) / (long - short))


LENGTHS = (4, 8)
"""Lengths of the sequences for layers that work step by step."""


def average_bytes(model: nn.Module) -> int:
    """Return the bytes of a moving average of the trained weights, which has at least single precision."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sum(one.numel() * torch.promote_types(one.dtype, torch.float32).itemsize for one in trained)


def optimizer_bytes(model: nn.Module, optimizer: Optimizer) -> int:
    """Return the bytes that ``optimizer`` keeps from one step to the next, measured with one step.

    Args:
        model: on the meta device.
    """
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with _ScalarsOne():
        optimizer.step()
    model.zero_grad()
    return _bytes(value for kept in optimizer.state.values() for value in kept.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _ScalarsOne(TorchDispatchMode):
    """Returns 1 for a number read from a meta tensor: an optimizer may read its step count."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0
        return func(*args, **(kwargs or {}))


class FusedAttention(TorchFunctionMode):
    """Replaces attention, which the meta device computes with all scores, by the memory of a fused kernel."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            arguments = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | (kwargs or {})
            return _Attention.apply(
                arguments["query"], arguments["key"], arguments["value"], arguments.get("attn_mask")
            )
        return func(*args, **(kwargs or {}))


class _Attention(torch.autograd.Function):
    """Tensors that a fused kernel keeps: queries, keys, values, results, and a normaliser for each query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        *batch, heads, length, _ = query.shape
        result = query.new_empty(*batch, length, heads, value.shape[-1]).transpose(-3, -2)  # the layout of kernels
        normalisers = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, mask, result, normalisers)
        return result


class LiveBytes(TorchDispatchMode):
    """Tracks the memory of all tensors created under it; ``most`` is the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {tensor.untyped_storage()._cdata for tensor in tensors_in((args, kwargs or {}))}
        results = func(*args, **(kwargs or {}))
        for tensor in tensors_in(results):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in inputs or key in self._counted:
                continue
            self._counted.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._freed, key, size)
        return results

    def _freed(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.now -= size


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Return all tensors in nested containers."""
    return (leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor))


class Autocast(TorchFunctionMode):
    """``torch.autocast`` of a CUDA device, for the meta device, which has none.

    It follows the lists in torch's documentation of automatic mixed precision: matrix products are computed in
    ``dtype``, operations that need a wide range in float32, others in the type of their inputs.
    """

    def __init__(self, dtype: torch.dtype, copies: Callable[[Tensor, torch.dtype], Tensor]) -> None:
        super().__init__()
        self.dtype = dtype
        self.copies = copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _NARROW:
            args, kwargs = _cast((args, kwargs), self._narrow)
        elif name in _WIDE:
            args, kwargs = _cast((args, kwargs), lambda tensor: tensor.float())
        return func(*args, **kwargs)

    def _narrow(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        return self.copies(tensor, self.dtype) if isinstance(tensor, nn.Parameter) else tensor.to(self.dtype)


_NARROW = {
    *("linear", "matmul", "__matmul__", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "einsum"),
    *("conv1d", "conv2d", "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"),
}
_WIDE = {
    *("layer_norm", "group_norm", "rms_norm", "softmax", "log_softmax", "cross_entropy", "nll_loss", "softplus"),
    *("exp", "expm1", "log", "log1p", "log2", "log10", "pow", "__pow__", "rsqrt", "reciprocal", "norm", "prod"),
    *("cumsum", "cumprod", "sum", "sinh", "cosh", "tan", "acos", "asin", "erfinv"),
}


def _cast(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _cast(item, change) for key, item in value.items()}
    return value
