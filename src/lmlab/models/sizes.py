"""How large a model is: parameters by kind, state, and operations per token. All of it works on the meta device."""

from typing import Any

import torch
from torch import nn

from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.parameters import parameter_counts


def flops_per_token(model: LanguageModel, context: int) -> int:
    """Return the floating-point operations of matrix products in the forward pass of one token.

    Two for each matrix parameter, and what mixers, channels and heads count beyond that (``extra_flops``): what is done
    with the ``context`` tokens of a sequence, a matrix that serves several times, experts that are not chosen. Training
    takes three times as many. Element-wise work is not counted.
    """
    operations = 2 * parameter_counts(model)["matmul"]
    for module in model.modules():
        extra_flops = getattr(module, "extra_flops", None)
        if extra_flops is not None:
            operations += extra_flops(context)
    return operations


def state_bytes(model: LanguageModel, context: int) -> int:
    """Return the bytes that the state of one sequence takes after ``context`` tokens.

    As the model or its mixers declare it (``state_size``); where one does not, the model reads so many tokens and its
    state is measured.
    """
    if declaring := _declaring(model):
        numbers = sum(part.state_size(context) for part in declaring)
        numbers += sum(
            block.shift_state_size() for block in getattr(model, "blocks", ()) if hasattr(block, "shift_state_size")
        )
        return numbers * next(model.parameters()).element_size()
    training = model.training
    with torch.no_grad():
        state = model.eval()(torch.zeros(1, context, dtype=torch.int64, device=next(model.parameters()).device)).state
    model.train(training)
    return model_state.size_in_bytes(state)


def grows_with_context(model: LanguageModel) -> bool:
    """Return whether the state of a sequence takes more memory the longer the sequence is, without an end."""
    if model.max_positions is not None:
        return True
    if _declaring(model):
        return state_bytes(model, 1 << 31) > state_bytes(model, 1 << 30)
    return state_bytes(model, 2) > state_bytes(model, 1)


def _declaring(model: LanguageModel) -> list[Any]:
    """Return what declares the state of a model: the model itself or its mixers; nothing if one of them does not."""
    if hasattr(model, "state_size"):
        return [model]
    mixers = [block.mixer for block in model.blocks if isinstance(block.mixer, nn.Module)]
    return mixers if all(hasattr(mixer, "state_size") for mixer in mixers) else []


def describe_sizes(model: LanguageModel, context: int) -> dict[str, Any]:
    """Return parameters by kind, state bytes per sequence after ``context`` tokens, and operations per token."""
    return {
        "parameters": parameter_counts(model),
        "state_bytes_per_sequence": state_bytes(model, context),
        "flops_per_token": flops_per_token(model, context),
        "context": context,
    }
