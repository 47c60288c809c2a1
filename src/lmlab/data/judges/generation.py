"""Diversity and repetition of generated texts, and guesses of a word. Words are what white space separates."""

import string
from collections.abc import Sequence

import numpy as np

from lmlab.data.judges.answers import AnswerMetric, MeanScore, TextsMetric
from lmlab.data.judges.translation import library
from lmlab.metrics import Metric

DISTINCT = {
    1: Metric("distinct1", "distinct-1", "higher", "{:.1f}", per_token=False),
    2: Metric("distinct2", "distinct-2", "higher", "{:.1f}", per_token=False),
}
REPETITION = Metric("repetition", "repetition", "lower", "{:.1f}", per_token=False)
SELF_BLEU = Metric("self_bleu", "self-BLEU", "lower", "{:.1f}", per_token=False)
LAST_WORD = Metric("last_word", "last word", "higher", "{:.1f}", per_token=False)
_ORDER = 4
_TEXTS = 200
"""Number of texts that self-BLEU compares with each other; its time grows with the square."""


def ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """Return the n-grams of some words, in order."""
    return list(zip(*(words[first:] for first in range(order)), strict=False))


class Distinct(TextsMetric):
    """Distinct-n (Li et al. 2016): different n-grams of all texts per n-gram, from 0 to 100."""

    def __init__(self, order: int) -> None:
        self.metric = DISTINCT[order]
        self.signature = f"different {order}-grams of all texts / {order}-grams; words between white space"
        self._order = order

    def value(self, texts: Sequence[str]) -> float:
        grams = [gram for text in texts for gram in ngrams(text.split(), self._order)]
        return 100.0 * len(set(grams)) / len(grams) if grams else 0.0


class Repetition(AnswerMetric):
    """Repeated n-grams in a text (seq-rep-4; Welleck et al. 2020): 1 - different 4-grams / 4-grams, from 0 to 100.

    The mean over texts; in texts of fewer than four words, nothing is repeated. The statistics are that of a text, and
    a one.
    """

    metric = REPETITION
    signature = "seq-rep-4: mean over texts of 1 - different 4-grams / 4-grams; words between white space"

    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        grams = ngrams(answer.split(), _ORDER)
        return np.array([100.0 * (1 - len(set(grams)) / len(grams)) if grams else 0.0, 1.0])

    def value(self, sums: np.ndarray) -> float:
        return float(sums[0] / sums[1]) if sums[1] else float("nan")


class SelfBleu(TextsMetric):
    """Self-BLEU (Zhu et al. 2018): the mean BLEU of each text with all others as its references, from 0 to 100.

    Of more than 200 texts, it takes 200 that are evenly spaced in alphabetical order.
    """

    metric = SELF_BLEU

    def __init__(self) -> None:
        self._bleu = library("data.metrics=self_bleu").BLEU(effective_order=True)
        self._bleu.sentence_score("", [""])
        signature = self._bleu.get_signature()
        signature.update("nrefs", "others")
        self.signature = f"mean over texts, at most {_TEXTS}, by sacreBLEU {signature.format()}"

    def value(self, texts: Sequence[str]) -> float:
        some = sorted(texts)
        if len(some) > _TEXTS:
            some = [some[place * len(some) // _TEXTS] for place in range(_TEXTS)]
        if len(some) < 2:
            return float("nan")
        scores = [
            self._bleu.sentence_score(text, some[:number] + some[number + 1 :]).score
            for number, text in enumerate(some)
        ]
        return float(np.mean(scores))


def first_word(text: str) -> str:
    """Return the first word of a text in lower case, without punctuation around it; "" if there is none."""
    stripped = (word.strip(string.punctuation + "“”‘’…").lower() for word in text.split())
    return next((word for word in stripped if word), "")


def metric(name: str) -> AnswerMetric | TextsMetric:
    """Return the metric with a name of this module."""
    if name == "last_word":
        rules = "first word of the answer, in lower case and without punctuation around it"
        return MeanScore(LAST_WORD, lambda answer, word: 100.0 * (first_word(answer) == first_word(word)), rules)
    if name == "repetition":
        return Repetition()
    return SelfBleu() if name == "self_bleu" else Distinct(int(name[-1]))
