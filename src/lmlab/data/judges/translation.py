"""BLEU and chrF of translations, by sacreBLEU."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmlab.data.judges.answers import AnswerMetric
from lmlab.errors import UserError
from lmlab.metrics import Metric

BLEU = Metric("bleu", "BLEU", "higher", "{:.1f}", per_token=False)
CHRF = Metric("chrf", "chrF", "higher", "{:.1f}", per_token=False)
_ORDERS = 4


def library(option: str) -> Any:
    """Return the module of sacreBLEU's metrics. Raises ``UserError`` if it is not installed."""
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise UserError(f"{option}: needs sacrebleu: pip install 'lmlab[tasks]'") from error
    return sacrebleu.metrics


class Bleu(AnswerMetric):
    """BLEU (Papineni et al. 2002) of all answers together, from 0 to 100.

    The statistics are a one, the lengths of answer and reference, and for each order the n-grams that match and all.
    """

    metric = BLEU

    def __init__(self) -> None:
        module = library("data.metrics=bleu")
        # The order takes no part in the statistics; the library recommends it for sentences.
        self._sentences = module.BLEU(effective_order=True)
        self._bleu = module.BLEU()
        self.signature = _signature(self._bleu)

    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        score = self._sentences.sentence_score(answer, list(references))
        return np.array([1, score.sys_len, score.ref_len, *score.counts, *score.totals], np.float64)

    def value(self, sums: np.ndarray) -> float:
        number, answers, references, *counts = (round(each) for each in sums.tolist())
        if not number:
            return float("nan")
        matches, all_of_them = counts[:_ORDERS], counts[_ORDERS:]
        score = self._bleu.compute_bleu(matches, all_of_them, answers, references, smooth_method="exp")
        return float(score.score)


class Chrf(AnswerMetric):
    """The chrF2 score (Popovic 2015) of all answers together, from 0 to 100.

    The statistics are a one, and those of the library, which has no public function for them.
    """

    metric = CHRF

    def __init__(self) -> None:
        self._chrf = library("data.metrics=chrf").CHRF()
        self.signature = _signature(self._chrf)

    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        extracted = self._chrf._extract_corpus_statistics([answer], [[reference] for reference in references])
        return np.array([1, *extracted[0]], np.float64)

    def value(self, sums: np.ndarray) -> float:
        number, *counts = (round(each) for each in sums.tolist())
        return float(self._chrf._compute_score_from_stats(counts).score) if number else float("nan")


def _signature(metric: Any) -> str:
    """Return the library's signature of a metric, for any number of references."""
    metric.corpus_score([""], [[""]])  # before that, it has none
    signature = metric.get_signature()
    signature.update("nrefs", "var")
    return f"sacreBLEU {signature.format()}"


def metric(name: str) -> AnswerMetric:
    """Return the metric ``bleu`` or ``chrf``."""
    return Bleu() if name == "bleu" else Chrf()
