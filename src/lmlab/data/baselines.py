"""Trivial baselines of a task: scores that need no model, which a model should beat."""

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.metrics import FREQUENCIES
from lmlab.runs.files import dumps, numbers, read_json, write_json

if TYPE_CHECKING:
    from lmlab.data.judges.answers import AnswerMetric

Baselines = dict[str, dict[str, float]]
"""Values of metrics by name, by the name of the baseline."""

MOST_FREQUENT = "most frequent answer"
FIRST_SENTENCE = "first sentence"
COPY = "copy of the input"
EXTRACT = "words of the input at random"

_SENTENCE = re.compile(r".*?(?:[.!?](?=\s)|\n|$)", re.DOTALL)


def first_sentence(text: str) -> str:
    """Return the text up to the first line end, or the first full stop, ``!`` or ``?`` before white space."""
    match = _SENTENCE.match(text.strip())
    assert match is not None  # the end of the text matches
    return match[0].strip()


def of_answers(
    metrics: "Sequence[AnswerMetric]",
    training_answers: Iterable[str],
    inputs: Sequence[str],
    references: Sequence[Sequence[str]],
    cut: Callable[[str], str] = str,
    extracts: Iterable[Sequence[str]] = (),
) -> Baselines:
    """Return the scores of answers that are made without a model, each with one space for white space.

    - ``most frequent answer``: the most frequent one of the training split, for every example; the first of several;
    - ``first sentence``: that of the input;
    - ``copy of the input``;
    - ``words of the input at random``, where answers can be nothing else: one of the extracts, with a seed of its own.

    Args:
        metrics: metrics of answers.
        training_answers: the answers of the training split; none: there is no most frequent answer.
        inputs: the input of each scored example.
        references: the right answers of each scored example.
        cut: returns the beginning of a text that is as long as an answer may be.
        extracts: the extracts that each answer can be; none: answers can be any text.
    """
    answers: dict[str, Iterable[str]] = {FIRST_SENTENCE: map(first_sentence, inputs), COPY: inputs}
    draw = random.Random(0)
    if drawn := [draw.choice(texts) if texts else "" for texts in extracts]:
        answers[EXTRACT] = drawn
    if most := Counter(training_answers).most_common(1):
        answers = {MOST_FREQUENT: [most[0][0]] * len(inputs)} | answers
    return {
        name: {
            metric.metric.name: metric.value(
                np.sum([metric.statistics(*pair) for pair in zip(own, references, strict=True)], axis=0)
            )
            for metric in metrics
        }
        for name, own in ((name, [" ".join(cut(text).split()) for text in own]) for name, own in answers.items())
    }


def of_tokens(training_V: np.ndarray, scored_V: np.ndarray, tokens_per_byte: float | None) -> Baselines:
    """Return the scores of predicting each token by its frequency in the training split, with one added to each count.

    Args:
        training_V, scored_V: [V] int64, how often each type occurs in the training split and among the scored tokens.
        tokens_per_byte: scored tokens divided by the UTF-8 bytes of their text; ``None`` for data that are not text.
    """
    total = int(scored_V.sum())
    if not total:
        return {}
    nats_V = np.log(training_V.sum() + len(training_V)) - np.log(training_V + 1.0)
    loss = float(scored_V @ nats_V) / total
    scores = {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": float(scored_V[training_V.argmax()]) / total,
    }
    if tokens_per_byte is not None:
        scores["bits_per_byte"] = loss / math.log(2) * tokens_per_byte
    return {FREQUENCIES: scores}


def kept(folder: Path, parts: Sequence[Any], compute: Callable[[], Baselines]) -> Baselines:
    """Return the baselines of prepared data, computed once.

    Args:
        folder: folder of the prepared data, where they are kept.
        parts: plain values that the baselines depend on besides the data.
    """
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    path = folder / f"baselines-{hashlib.sha256(dumps([code, *parts]).encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError):
        recorded = numbers(read_json(path))
        if isinstance(recorded, Mapping):
            return dict(recorded)
    baselines = compute()
    with suppress(OSError):  # the cache may be read-only
        write_json(path, baselines)
    return baselines
