"""Answers that a model generates, compared with the right ones."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torchmetrics
from torch import Tensor

from lmlab.data.batch import Batch
from lmlab.data.extracts import Extracts
from lmlab.data.judges.answers import AnswerMetric, TextsMetric
from lmlab.data.judges.judge import Judge
from lmlab.data.judges.resampling import resampled_interval
from lmlab.data.text_stream import StopStrings, TextStream, stop_at
from lmlab.data.tokenizers import Tokenizer
from lmlab.models.decoding import Continuation, Row
from lmlab.models.decoding_options import Settings, decoding_of, line
from lmlab.models.generation import decode
from lmlab.models.language_model import LanguageModel


class Prediction(NamedTuple):
    """A generated answer.

    Attributes:
        prompt: the text before it.
        answer: the generated text, without white space at its ends.
        references: the right answers.
        scores: value of each metric for this answer alone, by name.
        statistics: numbers of each metric that add up over answers, by name.
    """

    prompt: str
    answer: str
    references: tuple[str, ...]
    scores: dict[str, float]
    statistics: dict[str, np.ndarray]


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


class _Texts(torchmetrics.Metric):
    """Texts, gathered over ranks: their bytes, each followed by one that UTF-8 does not use."""

    full_state_update = False
    content: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("content", torch.empty(0, dtype=torch.uint8), dist_reduce_fx="cat")

    def update(self, texts: Sequence[str]) -> None:
        content = b"".join(text.encode() + _END for text in texts)
        added = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else self.content[:0]
        self.content = torch.cat([self.content, added.to(self.content)])

    def compute(self) -> Tensor:
        return self.content


def _texts(content: Tensor) -> list[str]:
    return [text.decode() for text in content.cpu().numpy().tobytes().split(_END)[:-1]]


_END = b"\xff"


class Decoded(Judge):
    """Decodes answers and computes metrics over all answers.

    A row up to its first scored position is the prompt. The right answers are the row's references, or, without
    any, the targets from there on. Answers are scored as text, so metrics are comparable across tokenizers unless they
    declare ``per_token``.

    Args:
        tokenizer: turns answers into text.
        answer_metrics: the metrics in order.
        context: limit of tokens that the model sees.
        length: most tokens of an answer; ``None``: as many as the targets have.
        settings: settings of decoding by the names of options; by default it is greedy. An answer that is sampled
            depends on its prompt and the option ``seed`` alone.
        extracts: called with the text of a prompt; returns the extracts that its answer can be, if ``settings`` have
            ``extract``.

    Attributes:
        answer_metrics: those of the metrics that are computed from sums over answers.
        shot_tokens: number of tokens after the first one of each row that belong to other examples: nothing is
            extracted from them.
    """

    generates = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        answer_metrics: Sequence[AnswerMetric | TextsMetric],
        context: int,
        length: int | None = None,
        settings: Settings | None = None,
        extracts: Callable[[str], Extracts] | None = None,
    ) -> None:
        super().__init__()
        metrics = [each.metric for each in answer_metrics]
        self.metrics = tuple(each if each.per_token else each._replace(per_token=False) for each in metrics)
        self.shown = len(self.metrics)
        self._tokenizer = tokenizer
        self.answer_metrics = tuple(each for each in answer_metrics if isinstance(each, AnswerMetric))
        self._texts_metrics = tuple(each for each in answer_metrics if isinstance(each, TextsMetric))
        self.predictions: list[Prediction] | None = None
        self._context = context
        self._length = length
        self._decoding = decoding_of(settings or {}, length or 1)
        self._seed = (settings or {}).get("seed", 1)
        self._extracts = extracts if self._decoding.extract else None
        self.shot_tokens = 0
        self.decoding = line(self._decoding, self._seed)
        if length is None:
            self.decoding = self.decoding.replace(" length=1", "") + ", with as many tokens as the right answer"
        self.signatures = {each.metric.name: each.signature for each in answer_metrics if each.signature}
        for each in self.answer_metrics:
            size = len(each.statistics("", [""]))
            self.add_module(f"sums_{each.metric.name}", _Sums(size))
        self.texts = _Texts() if self._texts_metrics else None

    def update(self, model: LanguageModel, batch: Batch) -> None:
        rows, right = [], []
        text = self._tokenizer.decode
        stop = () if self._length is None else (self._tokenizer.separator,)
        for number, (tokens_T, targets_T) in enumerate(zip(batch.tokens.cpu(), batch.targets.cpu(), strict=True)):
            scored_N = (targets_T >= 0).nonzero().flatten()
            if len(scored_N):
                prompt = tokens_T[: int(scored_N[0]) + 1].tolist()
                ends = stop_at(self._decoding.stop, self._tokenizer, prompt[1:])
                length = self._length or len(scored_N)
                own = np.array(prompt[1 + self.shot_tokens :])
                allowed = self._extracts and self._extracts(text(own)).following
                rows.append(Row(prompt, _seed_of(self._seed, prompt), stop, length, ends, allowed))
                references = None if batch.references is None else batch.references[number]
                right.append(references or (text(targets_T[scored_N].numpy()),))
        if not rows:
            return
        decoding = replace(self._decoding, length=max(row.length or 0 for row in rows))
        answers = decode(model, rows, decoding, self._context)
        texts = []
        for row, answer, references in zip(rows, answers, right, strict=True):
            generated = self._text(row, answer)
            if self._length is not None:
                generated = " ".join(generated.split())
            texts.append(generated)
            statistics = {each.metric.name: each.statistics(generated, references) for each in self.answer_metrics}
            for name, numbers in statistics.items():
                self.get_submodule(f"sums_{name}").update(torch.from_numpy(numbers))  # type: ignore[operator]
            if self.predictions is not None:
                scores = {each.metric.name: each.value(statistics[each.metric.name]) for each in self.answer_metrics}
                prompt = text(np.array(row.prompt)[1:])
                self.predictions.append(Prediction(prompt, generated, references, scores, statistics))
        if self.texts is not None:
            self.texts.update(texts)

    def _text(self, row: Row, answer: Continuation) -> str:
        """Return the text of an answer, up to a stop string."""
        if not self._decoding.stop:
            return self._tokenizer.decode(np.array(answer.text_tokens, np.int64))
        stream, stop = TextStream(self._tokenizer, row.prompt[1:]), StopStrings(self._decoding.stop)
        return stop.add(stream.add(*answer.text_tokens) + stream.rest()) + stop.rest()

    def compute(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for each in self.answer_metrics:
            sums: Tensor = self.get_submodule(f"sums_{each.metric.name}").compute()  # type: ignore[operator]
            values[each.metric.name] = each.value(sums.cpu().numpy())
        if self.texts is not None:
            texts = _texts(self.texts.compute())
            values |= {each.metric.name: each.value(texts) for each in self._texts_metrics}
        return {metric.name: values[metric.name] for metric in self.metrics}

    def keep_predictions(self) -> None:
        self.predictions = []

    def intervals(self) -> dict[str, tuple[float, float]]:
        predictions = self.predictions or []
        statistics = {
            each: np.array([one.statistics[each.metric.name] for one in predictions]) for each in self.answer_metrics
        }
        return {
            each.metric.name: resampled_interval(numbers, each.value)
            for each, numbers in statistics.items()
            if len(numbers) > 1
        }

    def reset(self) -> None:
        super().reset()
        if self.predictions is not None:
            self.predictions.clear()


def _seed_of(seed: int, prompt: Sequence[int]) -> int:
    """Return the seed of a row's random numbers, the same in any order of the rows."""
    return int.from_bytes(hashlib.sha256(f"{seed} {prompt}".encode()).digest()[:8])
