"""Score every position of a split exactly once, with any batch size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import nn

from lmlab.data.batch import Batch
from lmlab.data.judges import Judge
from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.training.allocator import is_out_of_memory
from lmlab.training.scoring import judge, values


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    batches: Iterable[Batch],
    judges: Sequence[Judge],
    context: int,
    advance: Callable[[int], None] = lambda scored: None,
) -> dict[str, float]:
    """Score batches in turn; one that is not ``fresh`` continues from the state of the previous batch.

    A recurrent state continues without limit, an attention cache keeps its last ``context`` tokens, and a model that
    runs out of positions starts again from an empty state.

    Args:
        model: in evaluation mode.
        advance: called with the number of positions scored in each batch, to show progress.

    Returns:
        The metrics of the judges, and ``tokens``, the number of scored positions.

    Raises:
        UserError: a batch does not fit into memory.
    """
    device = next(model.parameters()).device
    listed = nn.ModuleList(judges).to(device)
    state, tokens, rows = None, 0, 0
    try:
        for batch in batches:
            # The full length of a chunk, so that it does not depend on the other rows in the batch when states end.
            goes_on = not batch.fresh and model_state.has_room(state, context, model.max_positions)
            rows = len(batch.tokens)
            state = judge(listed, model, replace(batch.to(device), state=state if goes_on else None))
            state = state and model_state.crop(state, context)
            scored = int((batch.targets >= 0).sum())
            tokens += scored
            advance(scored)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"batch_size={rows}: this many sequences of {context} tokens do not fit into memory, choose fewer"
        ) from error
    return {**values(listed), "tokens": tokens}
