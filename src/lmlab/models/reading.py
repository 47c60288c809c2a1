"""Reading sequences of any length and number with a language model that may be in training.

Dimension legend: B sequences, T tokens, N tokens of a piece that is read at once, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState

Result = TypeVar("Result")


@torch.no_grad()
def read(model: LanguageModel, tokens_BT: Tensor, context: int) -> Iterator[tuple[Tensor, LanguageModelState]]:
    """Yield the hidden vectors [B, N, D] of sequences of equal length, piece by piece, with the state after each.

    A token sees the same earlier tokens as in generation: at most ``context`` tokens in attention, all of them in a
    recurrent state. A model that runs out of positions starts again from the last half of the context.
    """
    state, end = None, 0
    while end < tokens_BT.shape[1]:
        begin = end
        if state is None:
            piece, before = tokens_BT[:, :context], None
        elif not model_state.has_room(state, 1, model.max_positions):
            begin = end + 1 - max(1, context // 2)
            piece, before = tokens_BT[:, begin : begin + context], None
        else:
            # With attention, read one by one, as in generation: so no token sees more than in training.
            size = 1 if model_state.caches(state) or model.max_positions else context
            piece, before = tokens_BT[:, begin : begin + size], model_state.crop(state, context - 1)
        hidden_BND, state, _ = model(piece, before)
        yield hidden_BND[:, end - begin :], state
        end = begin + piece.shape[1]


def by_length(
    lengths: Sequence[int], batch_size: int, work: Callable[[Sequence[int]], Sequence[Result]]
) -> list[Result]:
    """Return ``work`` for each of many sequences, done in batches of similar length.

    Args:
        lengths: lengths of the sequences.
        batch_size: sequences in a batch; it is halved whenever a batch does not fit into memory.
        work: called with the numbers of the sequences of a batch, returns a result for each.
    """
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    results: dict[int, Result] = {}
    while len(results) < len(order):
        batch = order[len(results) : len(results) + batch_size]
        try:
            results.update(zip(batch, work(batch), strict=True))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            batch_size = len(batch) // 2
    return [results[number] for number in range(len(lengths))]


@contextmanager
def evaluation_mode(model: LanguageModel) -> Iterator[None]:
    """Put a model into evaluation mode, and restore the mode of each of its modules afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: LanguageModel) -> torch.device:
    """Return the device of a model's weights."""
    return next(model.parameters()).device
