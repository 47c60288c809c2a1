"""The scores of a validation: the judges of every split, fed batch by batch."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from lmlab.data.batch import Batch
from lmlab.data.judges import Judge
from lmlab.data.tasks import Task
from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState
from lmlab.training.allocator import is_out_of_memory


def judge(judges: nn.ModuleList, model: LanguageModel, batch: Batch) -> LanguageModelState | None:
    """Update all judges with a batch; return the state after it, from the first judge that reads the batch itself."""
    states = [cast(Judge, each).update(model, batch) for each in judges]
    return next((state for state in states if state is not None), None)


def values(judges: nn.ModuleList) -> dict[str, float]:
    """Return the metrics of all judges by name; for a name that several judges have, the first value."""
    metrics: dict[str, float] = {}
    for each in judges:
        for name, value in cast(Judge, each).compute().items():
            metrics.setdefault(name, value)
    return metrics


class Scoring(nn.Module):
    """Scores a model on the batches of a validation.

    Args:
        task: provides the judges of its scored splits, in the order of the validation's loaders.

    Attributes:
        splits: names of the splits, and one for each time that the first is scored again.
        measures: the metrics of the task.
        cost: cost of the newest validation, on the part of the first split that every validation scores; lower is
            better.
        pieces: number of parts of a batch that are scored one after the other.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.splits = list(task.scored_splits)
        self.measures = task.measures()
        self.pieces = 1
        self.judges = nn.ModuleDict({split: nn.ModuleList(task.judges(split)) for split in self.splits})
        self.cost = math.nan
        self._part_ended = False

    def score_again(self, name: str) -> None:
        """Score the first split another time, under ``name``, as if it were another split."""
        self.judges[name] = nn.ModuleList(self.task.judges(self.splits[0]))
        self.splits.append(name)

    def update(self, model: LanguageModel, batch: Batch, number: int) -> None:
        """Score a batch of a loader of the validation.

        Args:
            number: number of the loader: first the loaders for a part of each split, then those for the rest of each.
        """
        if number > 0:
            self._end_part()
        for piece in batch.pieces(self.pieces):
            judge(self._of(self.splits[number % len(self.splits)]), model, piece)

    def compute(self) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        """Return the metrics of all splits (``validation/loss``) and the details of the first, and reset."""
        self._end_part()
        self._part_ended = False
        metrics = {f"{split}/{name}": value for split in self.splits for name, value in values(self._of(split)).items()}
        details: dict[str, list[dict[str, Any]]] = {}
        for each in self._of(self.splits[0]):
            details = cast(Judge, each).details() | details
        for split in self.splits:
            for each in self._of(split):
                cast(Judge, each).reset()
        return metrics, details

    def _end_part(self) -> None:
        """Compute the cost on the part of the first split that every validation scores, whose loader comes first."""
        if not self._part_ended:
            self._part_ended = True
            first = cast(Judge, self._of(self.splits[0])[0])
            self.cost = first.cost(first.compute())

    def _of(self, split: str) -> nn.ModuleList:
        return cast(nn.ModuleList, self.judges[split])


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
