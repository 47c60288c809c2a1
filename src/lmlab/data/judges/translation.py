"""BLEU and chrF of translations, by sacreBLEU."""

from collections.abc import Sequence

import numpy as np

from lmlab.data.judges.answers import AnswerMetric
from lmlab.errors import UserError
from lmlab.metrics import Metric

BLEU = Metric("bleu", "BLEU", "higher", "{:.1f}", per_token=False)
CHRF = Metric("chrf", "chrF", "higher", "{:.1f}", per_token=False)


class _SacreBleu(AnswerMetric):
    """A corpus-level metric of sacreBLEU (Post 2018), from the statistics that it extracts of each sentence."""

    def __init__(self, name: str) -> None:
        try:
            from sacrebleu.metrics import BLEU as Bleu
            from sacrebleu.metrics import CHRF as Chrf
        except ImportError as error:
            raise UserError("translations are scored by sacrebleu: pip install 'lmlab[tasks]'") from error
        self._library = {"bleu": Bleu, "chrf": Chrf}[name]()

    def statistics(self, answer: str, references: Sequence[str]) -> np.ndarray:
        extracted = self._library._extract_corpus_statistics([answer], [[reference] for reference in references])
        return np.array(extracted[0], np.float64)

    def value(self, sums: np.ndarray) -> float:
        if not sums.any():
            return 0.0
        return float(self._library._compute_score_from_stats([round(each) for each in sums.tolist()]).score)


class Bleu(_SacreBleu):
    """BLEU (Papineni et al. 2002) of the whole corpus, from 0 to 100."""

    metric = BLEU

    def __init__(self) -> None:
        super().__init__("bleu")


class Chrf(_SacreBleu):
    """The chrF2 score (Popovic 2015) of the whole corpus, from 0 to 100."""

    metric = CHRF

    def __init__(self) -> None:
        super().__init__("chrf")
