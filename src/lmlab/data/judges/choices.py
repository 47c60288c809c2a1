"""Multiple choice: the most likely of the answers to a prompt."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torchmetrics
from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.data.judges.judge import Answered, Judge
from lmlab.data.tokenizers import Tokenizer
from lmlab.metrics import Metric
from lmlab.models.language_model import LanguageModel
from lmlab.models.likelihood import score

ACCURACY = Metric("acc", "accuracy of choices", "higher", "{:.1f}", per_token=False)
NORMALISED = Metric("acc_norm", "accuracy of choices per byte", "higher", "{:.1f}", per_token=False)
SIGNATURES = {
    ACCURACY.name: "largest log-probability of the choice after the prompt, without its end; ties share the point",
    NORMALISED.name: "the same, divided by the bytes of the choice as UTF-8",
}


class Choice(NamedTuple):
    """The choices for a prompt, the right one first.

    Attributes:
        prompt: the text before them.
        choices: their texts.
        log_probs: log-probability of each, in nats.
    """

    prompt: str
    choices: tuple[str, ...]
    log_probs: tuple[float, ...]

    @property
    def per_byte(self) -> list[float]:
        """Return the log-probability of each choice divided by its bytes."""
        return [value / max(1, len(text.encode())) for value, text in zip(self.log_probs, self.choices, strict=True)]

    @property
    def scores(self) -> dict[str, float]:
        """Return the value of each metric for this prompt alone, by name."""
        return {ACCURACY.name: _point(self.log_probs), NORMALISED.name: _point(self.per_byte)}

    @property
    def references(self) -> tuple[str, ...]:
        """Return the right choice."""
        return self.choices[:1]

    @property
    def answer(self) -> str:
        """Return the most likely choice."""
        return self.choices[max(range(len(self.choices)), key=self.log_probs.__getitem__)]


def _point(values: Sequence[float]) -> float:
    """Return 100 if the first value is the largest, divided by the number of values that are as large; otherwise 0."""
    largest = max(values)
    return 100.0 * (values[0] == largest) / values.count(largest)


class Choices(Judge):
    """Accuracy of the most likely choice, also by log-probability per byte, so that short choices have no advantage.

    A row up to its first scored position is the prompt; its references are the choices, the right one first.

    Args:
        context: limit of tokens that the model sees.
        continues: a choice continues the line of the prompt, after a space.
    """

    metrics = (ACCURACY, NORMALISED)
    shown = 2
    generates = True  # the number of calls of the model differs between ranks, as if it generated

    def __init__(self, tokenizer: Tokenizer, context: int, continues: bool = False) -> None:
        super().__init__()
        self.predictions: list[Choice] | None = None
        self.signatures = SIGNATURES
        self._tokenizer = tokenizer
        self._context = context
        self._before = " " if continues else ""
        self.acc = torchmetrics.MeanMetric(nan_strategy="disable")
        self.acc_norm = torchmetrics.MeanMetric(nan_strategy="disable")

    def keep_predictions(self) -> None:
        """Keep the choices that are scored from now on, in :attr:`predictions`."""
        self.predictions = []

    def facts(self, prediction: Answered) -> dict[str, Any]:
        """Return the choices, the right one first, and the log-probability of each in nats, also per byte."""
        assert isinstance(prediction, Choice)
        return {
            "choices": list(prediction.choices),
            "log_probabilities": list(prediction.log_probs),
            "log_probabilities_per_byte": prediction.per_byte,
        }

    def update(self, model: LanguageModel, batch: Batch) -> None:
        if batch.references is None:
            return
        prompts = [_prompt(*row) for row in zip(batch.tokens.cpu(), batch.targets.cpu(), strict=True)]
        texts, begins = [], []
        for prompt, choices in zip(prompts, batch.references, strict=True):
            for choice in choices:
                texts.append([*prompt, *self._tokenizer.encode_prompt(f"{self._before}{choice}").tolist()])
                begins.append(len(prompt))
        log_probs = iter(scored.log_prob for scored in score(model, texts, self._context, begins))
        for prompt, choices in zip(prompts, batch.references, strict=True):
            values = tuple(next(log_probs) for _ in choices)
            one = Choice("", choices, values)
            self.acc.update(one.scores[ACCURACY.name])
            self.acc_norm.update(one.scores[NORMALISED.name])
            if self.predictions is not None:
                self.predictions.append(one._replace(prompt=self._tokenizer.decode(torch.tensor(prompt[1:]).numpy())))

    def compute(self) -> dict[str, float]:
        return {metric.name: _mean(getattr(self, metric.name)) for metric in self.metrics}

    def reset(self) -> None:
        super().reset()
        if self.predictions is not None:
            self.predictions.clear()


def _prompt(tokens_T: Tensor, targets_T: Tensor) -> list[int]:
    first = int((targets_T >= 0).nonzero()[0])
    return [int(token) for token in tokens_T[: first + 1]]


def _mean(metric: torchmetrics.MeanMetric) -> float:
    return float(metric.compute()) if float(metric.weight) else float("nan")
