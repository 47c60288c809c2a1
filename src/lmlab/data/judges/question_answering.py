"""Exact match and F1 by the rules of SQuAD's official evaluation."""

import re
import string
from collections import Counter

from lmlab.data.judges.answers import MeanScore
from lmlab.metrics import Metric

EXACT_MATCH = Metric("exact_match", "exact match", "higher", "{:.1f}", per_token=False)
F1 = Metric("f1", "F1", "higher", "{:.1f}", per_token=False)
_SIGNATURE = "SQuAD 2.0: lower case, without punctuation and a, an, the; maximum over references"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Return the words that are compared: in lower case, without punctuation and articles, in this order."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(answer: str, reference: str) -> float:
    """Return 100 if the words are equal, otherwise 0."""
    return 100.0 * (words(answer) == words(reference))


def f1(answer: str, reference: str) -> float:
    """Return 100 times the harmonic mean of precision and recall of words; without words, the exact match."""
    answer_words, reference_words = words(answer), words(reference)
    if not answer_words or not reference_words:
        return 100.0 * (answer_words == reference_words)
    common = (Counter(answer_words) & Counter(reference_words)).total()
    return 200.0 * common / (len(answer_words) + len(reference_words))


def metric(name: str) -> MeanScore:
    """Return the metric ``exact_match`` or ``f1``."""
    form, score = {"exact_match": (EXACT_MATCH, exact_match), "f1": (F1, f1)}[name]
    return MeanScore(form, score, _SIGNATURE)
