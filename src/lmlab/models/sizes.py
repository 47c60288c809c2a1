"""Sizes of a model: parameters by kind, state, and operations per token, on the meta device: without memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lmlab.models import state as model_state
from lmlab.models.channels.channel import Channel
from lmlab.models.heads.head import Head
from lmlab.models.language_model import LanguageModel
from lmlab.models.mixers.mixer import Mixer
from lmlab.models.parameters import parameter_counts


def flops_per_token(model: LanguageModel, context: int) -> int:
    """Return the floating-point operations of matrix products in the forward pass of one token.

    Two for each matrix parameter, plus the ``extra_flops`` of mixers, channels and heads: operations over the
    ``context`` tokens of a sequence, repeated uses of a matrix, experts that are not chosen (negative). Training takes
    three times as many. Element-wise operations are not counted.
    """
    operations = 2 * parameter_counts(model)["matmul"] + model.extra_flops(context)
    for module in model.modules():
        if isinstance(module, (Mixer, Channel, Head)):
            operations += module.extra_flops(context)
    return operations


def state_bytes(model: LanguageModel, context: int) -> int:
    """Return the bytes that the state of one sequence takes after ``context`` tokens.

    The model declares it (``state_size``); if it does not, it reads ``context`` tokens and its state is measured.
    """
    if (numbers := model.state_size(context)) is not None:
        return numbers * next(model.parameters()).element_size()
    training = model.training
    with torch.no_grad():
        state = model.eval()(torch.zeros(1, context, dtype=torch.int64, device=next(model.parameters()).device)).state
    model.train(training)
    return model_state.size_in_bytes(state)


def grows_with_context(model: LanguageModel) -> bool:
    """Return whether the state of a sequence grows with the length of the sequence without limit."""
    if model.max_positions is not None:
        return True
    short, long = (1, 2) if model.state_size(1) is None else (1 << 30, 1 << 31)
    return state_bytes(model, long) > state_bytes(model, short)


def describe_sizes(model: LanguageModel, context: int) -> dict[str, Any]:
    """Return parameters by kind, state bytes per sequence after ``context`` tokens, and operations per token."""
    return {
        "parameters": parameter_counts(model),
        "state_bytes_per_sequence": state_bytes(model, context),
        "flops_per_token": flops_per_token(model, context),
        "context": context,
    }


@contextmanager
def without_memory() -> Iterator[None]:
    """Create tensors on the meta device, where they have no values, and draw none."""
    with torch.device("meta"), _WithoutDraws():
        yield


class _WithoutDraws(TorchDispatchMode):
    """Skips random initialisation of meta tensors, which torch implements slowly in Python."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and func._schema.name.endswith("_") and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
