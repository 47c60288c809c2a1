"""ROUGE of summaries, by the library rouge-score."""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version

from lmlab.data.judges.answers import MeanScore
from lmlab.errors import UserError
from lmlab.metrics import Metric

ROUGE = {
    "rouge1": Metric("rouge1", "ROUGE-1", "higher", "{:.1f}", per_token=False),
    "rouge2": Metric("rouge2", "ROUGE-2", "higher", "{:.1f}", per_token=False),
    "rougeL": Metric("rougeL", "ROUGE-L", "higher", "{:.1f}", per_token=False),
}


@cache
def _words() -> Callable[[str], list[str]]:
    """Return the library's function from a text to its stems; it remembers texts, since stemming is slow."""
    from rouge_score.tokenizers import DefaultTokenizer

    return lru_cache(1 << 10)(DefaultTokenizer(use_stemmer=True).tokenize)


class _Words:
    """The library's default tokenizer with the stemmer, for all metrics of a process."""

    def tokenize(self, text: str) -> list[str]:
        return _words()(text)


def metric(name: str) -> MeanScore:
    """Return ``rouge1``, ``rouge2`` or ``rougeL`` (Lin 2004): the F1 of n-grams or of the longest common subsequence.

    From 0 to 100, with the stemmer of Porter. Of several references the best one counts.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise UserError(f"data.metrics={name}: needs rouge-score: pip install 'lmlab[tasks]'") from error
    scorer = RougeScorer([name], tokenizer=_Words())

    def score(answer: str, reference: str) -> float:
        return float(100 * scorer.score(reference, answer)[name].fmeasure)

    rules = f"rouge-score {version('rouge-score')}: F1, Porter stemmer, maximum over references"
    return MeanScore(ROUGE[name], score, rules)
