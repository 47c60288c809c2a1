"""Automatic mixed precision where torch has none: on the meta device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Autocast(TorchFunctionMode):
    """``torch.autocast`` of a CUDA device, for the meta device, which has none.

    As torch's documentation of automatic mixed precision lists the operations: matrix products are computed in
    ``dtype``, those that need a wide range in float32, others in what they are given.
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
