"""Metrics from the probability of each token of a text or an answer."""

from typing import Any

import torch

from lmlab.data.batch import Batch
from lmlab.data.judges.breakdown import Breakdown
from lmlab.data.judges.judge import Judge
from lmlab.data.judges.language_model_metrics import (
    ACCURACY,
    BITS_PER_BYTE,
    CALIBRATION_ERROR,
    LOSS,
    PERPLEXITY,
    LanguageModelMetrics,
)
from lmlab.metrics import Metric
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState


class Likelihood(Judge):
    """Judges each scored token by its probability (see :class:`LanguageModelMetrics`).

    Args:
        tokens_per_byte: scored tokens of the split divided by the UTF-8 bytes of their text.
        breakdown: breaks the loss down by position and frequency; ``None``: no breakdown.
    """

    metrics: tuple[Metric, ...] = (BITS_PER_BYTE, LOSS, PERPLEXITY, ACCURACY, CALIBRATION_ERROR)
    shown = 2

    def __init__(self, tokens_per_byte: float | None, breakdown: Breakdown | None = None) -> None:
        super().__init__()
        self.total = LanguageModelMetrics(tokens_per_byte)
        self.breakdown = breakdown

    def update(self, model: LanguageModel, batch: Batch) -> LanguageModelState:
        hidden_BTD, state, _ = model(batch.tokens, batch.state)
        scored_BT = batch.targets >= 0
        targets_N = batch.targets[scored_BT]
        scores = model.head.score(hidden_BTD[scored_BT], targets_N)
        self.total.update(*scores)
        if self.breakdown is not None:
            positions_BT = torch.arange(batch.targets.shape[1], device=targets_N.device).expand_as(batch.targets)
            self.breakdown.update(scores[0], positions_BT[scored_BT], targets_N)
        return state

    def compute(self) -> dict[str, float]:
        return self.total.compute()

    def cost(self, values: dict[str, float]) -> float:
        """Return the loss in nats per token, also if it is not the first metric: it is finer than accuracy."""
        return values[LOSS.name]

    def details(self) -> dict[str, list[dict[str, Any]]]:
        rows = {} if self.breakdown is None else self.breakdown.compute()
        return {**rows, "calibration": self.total.calibration}


class AnswerLikelihood(Likelihood):
    """Judges each token of an answer that is not text: accuracy first, without bits per byte.

    Args:
        breakdown: see :class:`Likelihood`.
    """

    metrics = (ACCURACY, LOSS, PERPLEXITY, CALIBRATION_ERROR)

    def __init__(self, breakdown: Breakdown | None = None) -> None:
        super().__init__(None, breakdown)
