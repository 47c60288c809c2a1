"""Scoring a split in three ways, every token exactly once, whatever the batch size.

The three are different metrics, not better and worse versions of one:

- ``fixed_window``: disjoint windows of ``context`` tokens, each from an empty state; what training looks like;
- ``sliding_window``: windows that move by ``stride``, so that every token but the first few has at least
  ``context - stride`` tokens before it;
- ``stateful``: the split is read in ``streams`` consecutive parts, state carried from chunk to chunk. A recurrent
  state goes on without end; an attention cache keeps its last ``context`` tokens; a model whose positions end starts
  afresh when they do.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lmlab.data.batch import as_batch
from lmlab.data.windows import EvaluationBatch, fixed_windows, sliding_windows
from lmlab.data.windows import streams as streams_of
from lmlab.errors import UserError, nearest
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.training.memory import is_out_of_memory
from lmlab.training.metrics import LanguageModelMetrics

METRICS = ("fixed_window", "sliding_window", "stateful")


def check(
    metrics: list[str], context: int, stride: int, streams: int, batch_size: int, max_positions: int | None
) -> None:
    """Refuse settings that no evaluation can have. Raises ``UserError``."""
    if not metrics:
        raise UserError("metrics=[]: expected at least one, for example metrics=[fixed_window]")
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"metrics={metric}: unknown{nearest(metric, METRICS)}")
    for option, value in (("context", context), ("streams", streams), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{option}={value}: expected at least 1")
    if not 1 <= stride <= context:
        raise UserError(f"stride={stride}: expected 1 to the context of {context}")
    if max_positions is not None and context > max_positions:
        raise UserError(f"context={context}: the positions of this model end at {max_positions}")


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    stream: np.ndarray,
    metric: str,
    *,
    tokens_per_byte: float,
    context: int,
    stride: int,
    streams: int,
    batch_size: int,
    advance: Callable[[int], None] = lambda tokens: None,
) -> dict[str, float]:
    """Score every token of ``stream`` but its leading separator once.

    Args:
        model: in evaluation mode.
        stream: [N + 1] token ids, the first of them only read.
        advance: called with the number of tokens scored by each batch, to show progress.

    Returns:
        The metrics of :class:`LanguageModelMetrics`, and ``tokens``, how many were scored.

    Raises:
        UserError: a batch does not fit into memory.
    """
    device = next(model.parameters()).device
    if metric == "stateful":
        batches = _with_state(model, streams_of(stream, streams, context, batch_size), context, device)
    else:
        windows = (
            fixed_windows(stream, context, batch_size)
            if metric == "fixed_window"
            else sliding_windows(stream, context, stride, batch_size)
        )
        batches = ((model(batch.tokens.to(device), None).hidden, batch.targets) for batch in map(as_batch, windows))
    try:
        return _score(model, batches, LanguageModelMetrics(tokens_per_byte), advance)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"batch_size={batch_size}: so many sequences of {context} tokens do not fit into memory, choose fewer"
        ) from error


@torch.inference_mode()
def evaluate_answers(
    model: LanguageModel, batches: Iterator[EvaluationBatch], advance: Callable[[int], None] = lambda answers: None
) -> dict[str, float]:
    """Score every answer of a generated task's sequences once, each sequence read from an empty state.

    Returns:
        What :func:`evaluate` does, less what only text has.
    """
    device = next(model.parameters()).device
    read = ((model(batch.tokens.to(device), None).hidden, batch.targets) for batch in map(as_batch, batches))
    return _score(model, read, LanguageModelMetrics(None), advance)


def _score(
    model: LanguageModel,
    read: Iterator[tuple[Tensor, Tensor]],
    total: LanguageModelMetrics,
    advance: Callable[[int], None],
) -> dict[str, float]:
    """Add up what pairs of hidden vectors [B, T, D] and targets [B, T] are worth."""
    device = next(model.parameters()).device
    total = total.to(device)
    for hidden_BTD, targets_BT in read:
        scored_BT = (targets_BT >= 0).to(device)
        total.update(*model.head.score(hidden_BTD[scored_BT], targets_BT.to(device)[scored_BT]))
        advance(int(scored_BT.sum()))
    return {**total.compute(), "tokens": int(total.tokens)}


def _with_state(
    model: LanguageModel, chunks: Iterator[EvaluationBatch], context: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield hidden states and targets chunk by chunk, each chunk read with the state that the one before left."""
    state = None
    for chunk in chunks:
        batch = as_batch(chunk)
        # The full length of a chunk, so that it does not depend on the other parts in the batch when states end.
        ended = not chunk.continues or not model_state.has_room(state, context, model.max_positions)
        hidden_BTD, state, _ = model(batch.tokens.to(device), None if ended else state)
        state = model_state.crop(state, context)
        yield hidden_BTD, batch.targets
