"""Judges: metrics of a model's predictions or answers. One file each."""

from lmlab.data.judges.answers import AnswerMetric, MeanScore, TextsMetric
from lmlab.data.judges.breakdown import Breakdown
from lmlab.data.judges.choices import Choices
from lmlab.data.judges.decoded import Decoded
from lmlab.data.judges.judge import Judge
from lmlab.data.judges.likelihood import AnswerLikelihood, Likelihood

__all__ = [
    "AnswerLikelihood",
    "AnswerMetric",
    "Breakdown",
    "Choices",
    "Decoded",
    "Judge",
    "Likelihood",
    "MeanScore",
    "TextsMetric",
]
