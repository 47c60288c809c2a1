"""How large a model is: parameters by kind, state, and operations per token. All of it works on the meta device."""

from typing import Any

import torch
from torch import nn

from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel


def parameter_counts(model: LanguageModel) -> dict[str, int]:
    """Return how many parameters there are, in three senses.

    - ``total``: all of them, tied matrices once;
    - ``non_embedding``: without token and position embeddings (Kaplan et al. 2020, section 2.1); a head's own matrix
      counts, one that is the embedding does not;
    - ``matmul``: entries of the matrices that a token is multiplied by, the head's (tied or not) among them.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    lookups = sum(p.numel() for p in model.parameters() if id(p) in embeddings)
    total = sum(p.numel() for p in model.parameters())
    matmul = sum(p.numel() for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings)
    tied = {id(p): p.numel() for p in model.head.parameters() if id(p) in embeddings}
    return {"total": total, "non_embedding": total - lookups, "matmul": matmul + sum(tied.values())}


def flops_per_token(model: LanguageModel, context: int) -> int:
    """Return the floating-point operations of matrix products in the forward pass of one token.

    Two for each matrix parameter (a mixture's shared output matrix once for each component), and what mixers do with
    the ``context`` tokens they see. Training takes three times as many. Element-wise work is not counted.
    """
    operations = 2 * parameter_counts(model)["matmul"] + model.head.repeated_flops()
    for module in model.modules():
        sequence_flops = getattr(module, "sequence_flops", None)
        if sequence_flops is not None:
            operations += sequence_flops(context)
    return operations


def state_bytes(model: LanguageModel, context: int) -> int:
    """Return the bytes that the state of one sequence takes after ``context`` tokens."""
    device = next(model.parameters()).device
    training = model.training
    with torch.no_grad():
        _, state = model.eval()(torch.zeros(1, context, dtype=torch.int64, device=device))
    model.train(training)
    return model_state.size_in_bytes(state)


def grows_with_context(model: LanguageModel) -> bool:
    """Return whether the state of a sequence takes more memory the longer the sequence is."""
    return state_bytes(model, 2) > state_bytes(model, 1) if model.max_positions != 1 else True


def describe_sizes(model: LanguageModel, context: int) -> dict[str, Any]:
    """Return parameters by kind, state bytes per sequence after ``context`` tokens, and operations per token."""
    return {
        "parameters": parameter_counts(model),
        "state_bytes_per_sequence": state_bytes(model, context),
        "flops_per_token": flops_per_token(model, context),
        "context": context,
    }
