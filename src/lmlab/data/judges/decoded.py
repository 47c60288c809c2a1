"""Answers that a model generates, compared with the right ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.data.judges.answers import AnswerMetric
from lmlab.data.judges.judge import Judge
from lmlab.data.tokenizers import Tokenizer
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import decode
from lmlab.models.language_model import LanguageModel


class Prediction(NamedTuple):
    """A generated answer.

    Attributes:
        prompt: the text before it.
        answer: the generated text, without white space at its ends.
        references: the right answers.
        scores: value of each metric for this answer alone, by name.
    """

    prompt: str
    answer: str
    references: tuple[str, ...]
    scores: dict[str, float]


class _Sums(torchmetrics.Metric):
    """The sums of an answer metric's statistics, reduced over ranks."""

    full_state_update = False
    sums: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def set_dtype(self, dst_type: torch.dtype | str) -> torchmetrics.Metric:
        return self  # stay in float64

    def update(self, statistics: Tensor) -> None:
        self.sums += statistics.to(self.sums)

    def compute(self) -> Tensor:
        return self.sums


class Decoded(Judge):
    """Decodes answers greedily and computes metrics over all answers.

    A row up to its first scored position is the prompt. The right answers are the row's references, or, without
    any, the targets from there on. Answers are scored as text, so metrics are comparable across tokenizers unless they
    declare ``per_token``.

    Args:
        tokenizer: turns answers into text.
        answer_metrics: the metrics in order.
        context: limit of tokens that the model sees.
        length: most tokens of an answer; ``None``: as many as the targets have.
        keep: keep the predictions, in :attr:`predictions`.
    """

    generates = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        answer_metrics: Sequence[AnswerMetric],
        context: int,
        length: int | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__()
        metrics = [each.metric for each in answer_metrics]
        self.metrics = tuple(each if each.per_token else each._replace(per_token=False) for each in metrics)
        self.shown = len(self.metrics)
        self.predictions: list[Prediction] | None = [] if keep else None
        self._tokenizer = tokenizer
        self._answer_metrics = tuple(answer_metrics)
        self._context = context
        self._length = length
        for each in self._answer_metrics:
            size = len(each.statistics("", [""]))
            self.add_module(f"sums_{each.metric.name}", _Sums(size))

    def update(self, model: LanguageModel, batch: Batch) -> None:
        rows, right = [], []
        text = self._tokenizer.decode
        stop = () if self._length is None else (self._tokenizer.separator,)
        for number, (tokens_T, targets_T) in enumerate(zip(batch.tokens.cpu(), batch.targets.cpu(), strict=True)):
            scored_N = (targets_T >= 0).nonzero().flatten()
            if len(scored_N):
                prompt = tokens_T[: int(scored_N[0]) + 1].tolist()
                rows.append(Row(prompt, length=self._length or len(scored_N), stop=stop))
                references = None if batch.references is None else batch.references[number]
                right.append(references or (text(targets_T[scored_N].numpy()),))
        if not rows:
            return
        decoding = Decoding(greedy=True, length=max(row.length or 0 for row in rows))
        answers = decode(model, rows, decoding, self._context)
        for row, answer, references in zip(rows, answers, right, strict=True):
            generated = text(np.array(answer.text_tokens, np.int64))
            if self._length is not None:
                generated = " ".join(generated.split())
            for each in self._answer_metrics:
                statistics = torch.from_numpy(each.statistics(generated, references))
                self.get_submodule(f"sums_{each.metric.name}").update(statistics)  # type: ignore[operator]
            if self.predictions is not None:
                scores = {each.metric.name: each.of_one(generated, references) for each in self._answer_metrics}
                self.predictions.append(Prediction(text(np.array(row.prompt)[1:]), generated, references, scores))

    def compute(self) -> dict[str, float]:
        values = {}
        for each in self._answer_metrics:
            sums: Tensor = self.get_submodule(f"sums_{each.metric.name}").compute()  # type: ignore[operator]
            values[each.metric.name] = each.value(sums.cpu().numpy())
        return values

    def reset(self) -> None:
        super().reset()
        if self.predictions is not None:
            self.predictions.clear()
