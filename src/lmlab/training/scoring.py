"""The scores of a validation: the judges of every split, fed batch by batch."""

import math
from typing import Any, cast

from torch import nn

from lmlab.data.batch import Batch
from lmlab.data.judges import Judge
from lmlab.data.tasks import Task
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState


def judge(judges: nn.ModuleList, model: LanguageModel, batch: Batch) -> LanguageModelState | None:
    """Let all judges see a batch; return the state after it, of the first judge that reads the batch as it stands."""
    states = [cast(Judge, each).update(model, batch) for each in judges]
    return next((state for state in states if state is not None), None)


def values(judges: nn.ModuleList) -> dict[str, float]:
    """Return the metrics of all judges by name; of a name that several have, the value of the first."""
    found: dict[str, float] = {}
    for each in judges:
        for name, value in cast(Judge, each).compute().items():
            found.setdefault(name, value)
    return found


class Scoring(nn.Module):
    """Scores a model on the batches of a validation.

    Args:
        task: gives each of its scored splits its judges, in the order of the validation's loaders.

    Attributes:
        splits: their names, and one for each time that the first is scored again.
        measures: the metrics of the task.
        cost: of the newest validation, on what every validation scores of the first split; lower is better.
        pieces: parts in which a batch is scored, one after the other.
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
        """Score the first split another time, under ``name``, as if it were one more split."""
        self.judges[name] = nn.ModuleList(self.task.judges(self.splits[0]))
        self.splits.append(name)

    def update(self, model: LanguageModel, batch: Batch, number: int) -> None:
        """Score a batch of a loader of the validation.

        Args:
            number: the loader's: first come those of a part of each split, then those of the rest of each.
        """
        if number > 0:
            self._end_part()
        for piece in batch.pieces(self.pieces):
            judge(self._of(self.splits[number % len(self.splits)]), model, piece)

    def compute(self) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        """Return the metrics of all splits (``validation/loss``) and the details of the first, and begin again."""
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
        """Take the cost of what every validation scores of the first split, whose loader comes first."""
        if not self._part_ended:
            self._part_ended = True
            first = cast(Judge, self._of(self.splits[0])[0])
            self.cost = first.cost(first.compute())

    def _of(self, split: str) -> nn.ModuleList:
        return cast(nn.ModuleList, self.judges[split])
