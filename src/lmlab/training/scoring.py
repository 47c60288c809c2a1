"""What a validation adds up, batch by batch: the scores of its splits, and where the loss of the first comes from."""

import math
from typing import Any, cast

import torch
from torch import nn

from lmlab.data.batch import Batch
from lmlab.models.language_model import LanguageModel
from lmlab.training.breakdown import Breakdown
from lmlab.training.metrics import LanguageModelMetrics


class Scoring(nn.Module):
    """Scores a model on the batches of a validation.

    Args:
        metrics: add up the scores of each split, in the order of the validation's loaders.
        breakdown: sorts those of the first of them.

    Attributes:
        splits: their names, and one for each time that the first is scored again.
        part_loss: of the newest validation, on what every validation scores of the first split, in nats.
        pieces: parts in which a batch is scored, one after the other.
    """

    def __init__(self, metrics: dict[str, LanguageModelMetrics], breakdown: Breakdown) -> None:
        super().__init__()
        self.splits = list(metrics)
        self.pieces = 1
        self.metrics = nn.ModuleDict(metrics)
        self.part = LanguageModelMetrics(None)
        self.breakdown = breakdown
        self.part_loss = math.nan

    def score_again(self, name: str) -> None:
        """Score the first split another time, under ``name``, as if it were one more split."""
        self.metrics[name] = LanguageModelMetrics(self._of(self.splits[0]).tokens_per_byte)
        self.splits.append(name)

    def update(self, model: LanguageModel, batch: Batch, number: int) -> None:
        """Score a batch of a loader of the validation; targets below 0 are not scored.

        Args:
            number: the loader's: first come those of a part of each split, then those of the rest of each.
        """
        split = self.splits[number % len(self.splits)]
        for tokens, targets in batch.pieces(self.pieces):
            hidden = model(tokens, None).hidden
            scored_N = targets.flatten() >= 0
            scored_targets = targets.flatten()[scored_N]
            scores = model.head.score(hidden.flatten(0, 1)[scored_N], scored_targets)
            self._of(split).update(*scores)
            if number == 0:
                self.part.update(*scores)
            if split == self.splits[0]:
                positions = torch.arange(targets.shape[1], device=targets.device).expand_as(targets)
                self.breakdown.update(scores[0], positions.flatten()[scored_N], scored_targets)

    def compute(self) -> tuple[dict[str, float], dict[str, list[dict[str, Any]]]]:
        """Return the metrics of all splits (``validation/loss``) and the breakdown of the first, and begin anew."""
        found = {split: self._of(split).compute() for split in self.splits}
        values = {f"{split}/{name}": value for split, scores in found.items() for name, value in scores.items()}
        sorted_scores = {**self.breakdown.compute(), "calibration": self._of(self.splits[0]).calibration}
        self.part_loss = self.part.compute()["loss"]
        self.part.reset()
        for split in self.splits:
            self._of(split).reset()
        self.breakdown.reset()
        return values, sorted_scores

    def _of(self, split: str) -> LanguageModelMetrics:
        return cast(LanguageModelMetrics, self.metrics[split])
