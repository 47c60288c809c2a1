"""Metrics from the probability of each token of a text or an answer."""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric as TorchMetric

from lmlab.data.batch import Batch
from lmlab.data.judges.breakdown import Breakdown
from lmlab.data.judges.judge import Judge
from lmlab.metrics import Metric
from lmlab.models.language_model import LanguageModel
from lmlab.models.state import LanguageModelState

BINS = 15

BITS_PER_BYTE = Metric("bits_per_byte", "bits/byte", "lower", "{:.4f}", "bits", per_token=False)
LOSS = Metric("loss", "loss (nats/token)", "lower", "{:.4f}", "nats", per_token=True)
PERPLEXITY = Metric("perplexity", "perplexity", "lower", "{:,.2f}", per_token=True)
ACCURACY = Metric("accuracy", "accuracy", "higher", "{:.1%}", per_token=True)
CALIBRATION_ERROR = Metric("calibration_error", "calibration error", "lower", "{:.3f}", per_token=True)
ANSWER_ACCURACY = ACCURACY._replace(per_token=False)


class LanguageModelMetrics(TorchMetric):
    """Loss, perplexity, bits per byte, next-token accuracy and calibration error from per-token scores.

    All states are sums, in float64 and int64, so the result does not depend on the division into batches or
    among ranks.

    - ``loss``: mean negative log-likelihood, nats per token;
    - ``perplexity``: exp(loss);
    - ``bits_per_byte``: loss / ln 2 * tokens per UTF-8 byte of the split, comparable across tokenizers; absent if
      the data are not text;
    - ``accuracy``: how often the most probable token is the next one;
    - ``calibration_error``: expected difference between confidence and accuracy over 15 equal bins of the confidence
      (ECE with the L1 norm; Guo et al. 2017, equation 3).

    ``calibration`` holds, after :meth:`compute`, the bins that have tokens: their mean ``confidence`` and ``accuracy``,
    and how many ``tokens``.

    Args:
        tokens_per_byte: tokens of the scored split divided by its UTF-8 bytes; ``None`` for data that are not text.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    bin_tokens: Tensor
    bin_correct: Tensor
    bin_confidence: Tensor

    def __init__(self, tokens_per_byte: float | None) -> None:
        super().__init__()
        self.tokens_per_byte = tokens_per_byte
        self.calibration: list[dict[str, Any]] = []
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("bin_tokens", "bin_correct", "bin_confidence"):
            self.add_state(name, torch.zeros(BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def set_dtype(self, dst_type: torch.dtype | str) -> TorchMetric:
        """Stay in float64 when the module around this metric is moved to another precision."""
        return self

    def update(self, nats: Tensor, correct: Tensor, confidence: Tensor) -> None:
        """Add tokens, each given by its loss in nats, whether the first guess was right, and that guess's probability.

        Args:
            nats, correct, confidence: [N] of the scored tokens.
        """
        self.nats += nats.double().sum()
        self.tokens += nats.numel()
        # Bins are (lower, upper]; a confidence of exactly 0 cannot occur for the most probable token.
        bins_N = (confidence.double() * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        for name, values_N in (
            ("bin_tokens", torch.ones_like(confidence)),
            ("bin_correct", correct),
            ("bin_confidence", confidence),
        ):
            getattr(self, name).index_add_(0, bins_N, values_N.double())

    def compute(self) -> dict[str, float]:
        """Return the metrics as plain numbers; nan where no token was scored."""
        tokens = int(self.tokens)
        loss = float(self.nats) / tokens if tokens else math.nan
        values = {LOSS: loss, PERPLEXITY: math.exp(min(loss, 700.0))}
        if self.tokens_per_byte is not None:
            values[BITS_PER_BYTE] = loss / math.log(2) * self.tokens_per_byte
        correct, confidence = self.bin_correct, self.bin_confidence
        values[ACCURACY] = float(correct.sum()) / tokens if tokens else math.nan
        values[CALIBRATION_ERROR] = float((correct - confidence).abs().sum()) / tokens if tokens else math.nan
        bins = torch.stack([self.bin_tokens, correct, confidence], 1).tolist()
        self.calibration = [
            {"confidence": sure / number, "accuracy": right / number, "tokens": int(number)}
            for number, right, sure in bins
            if number
        ]
        return {metric.name: value for metric, value in values.items()}


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

    metrics = (ANSWER_ACCURACY, LOSS, PERPLEXITY, CALIBRATION_ERROR)

    def __init__(self, breakdown: Breakdown | None = None) -> None:
        super().__init__(None, breakdown)
