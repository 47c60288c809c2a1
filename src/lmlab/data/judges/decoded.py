"""Answers that a model generates, compared with the right ones."""

from collections.abc import Callable, Mapping

import numpy as np
import torchmetrics

from lmlab.data.batch import Batch
from lmlab.data.judges.judge import Judge
from lmlab.data.tokenizers import Tokenizer
from lmlab.metrics import Metric
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.models.language_model import LanguageModel

Score = Callable[[str, str], float]
"""Called with an answer and the right one; returns a number for it."""


class Decoded(Judge):
    """Decodes answers greedily and averages each metric over all answers.

    A row up to its first scored position is the question; the targets from there on are the right answer. The model
    generates as many tokens as the right answer has. Answers are scored as text, so metrics are
    comparable across tokenizers unless they declare ``per_token``.

    Args:
        tokenizer: turns answers into text.
        scores: for each metric the function that scores one answer. Metrics are in the order of the mapping.
        context: limit of tokens that the model sees.
    """

    generates = True

    def __init__(self, tokenizer: Tokenizer, scores: Mapping[Metric, Score], context: int) -> None:
        super().__init__()
        self.metrics = tuple(each if each.per_token else each._replace(per_token=False) for each in scores)
        self._tokenizer = tokenizer
        self._scores = {metric.name: score for metric, score in scores.items()}
        self._context = context
        for name in self._scores:
            self.add_module(f"mean_{name}", torchmetrics.MeanMetric())

    def update(self, model: LanguageModel, batch: Batch) -> None:
        questions, right = [], []
        for tokens_T, targets_T in zip(batch.tokens.cpu(), batch.targets.cpu(), strict=True):
            scored_N = (targets_T >= 0).nonzero().flatten()
            if len(scored_N):
                questions.append(Row(tokens_T[: int(scored_N[0]) + 1].tolist(), length=len(scored_N)))
                right.append(targets_T[scored_N])
        if not questions:
            return
        decoding = Decoding(greedy=True, length=max(map(len, right)))
        answers = decode(model, questions, decoding, self._context)
        text = self._tokenizer.decode
        for answer, expected_N in zip(answers, right, strict=True):
            texts = text(np.array(answer.tokens)), text(expected_N.numpy())
            for name, score in self._scores.items():
                self.get_submodule(f"mean_{name}").update(float(score(*texts)))  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        return {name: float(self.get_submodule(f"mean_{name}").compute()) for name in self._scores}  # type: ignore[operator]
