"""The metrics of answers by name."""

import importlib
from collections.abc import Iterable

from lmlab.data.judges.answers import AnswerMetric, TextsMetric
from lmlab.errors import UserError, nearest

_PACKAGE = "lmlab.data.judges"
METRICS = {
    **dict.fromkeys(("exact_match", "f1"), "question_answering"),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL"), "summarisation"),
    **dict.fromkeys(("bleu", "chrf"), "translation"),
    **dict.fromkeys(("distinct1", "distinct2", "repetition", "self_bleu", "last_word"), "generation"),
    "verified": "verified",
}
"""Modules of the metrics, by the names that ``data.metrics`` gives them."""


def answer_metrics(metrics: Iterable[str | AnswerMetric | TextsMetric]) -> list[AnswerMetric | TextsMetric]:
    """Return new metrics by their names; those that are no names are returned as they are.

    Raises:
        UserError: there is no such metric, none is named, one is named twice, or its library is not installed.
    """
    listed = [_metric(each) if isinstance(each, str) else each for each in metrics]
    for each in listed:
        if not isinstance(each, AnswerMetric | TextsMetric):
            raise UserError(
                f"data.metrics: {type(each).__name__} is no metric; expected a name, or a subclass of "
                f"{_PACKAGE}.AnswerMetric"
            )
    names = [each.metric.name for each in listed]
    if not names:
        raise UserError(f"data.metrics=[]: expected at least one{nearest('', METRICS)}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"data.metrics: {twice} is named twice")
    return listed


def _metric(name: str) -> AnswerMetric | TextsMetric:
    if name not in METRICS:
        raise UserError(f"data.metrics={name}: no such metric{nearest(name, METRICS)}")
    metric: AnswerMetric | TextsMetric = importlib.import_module(f"{_PACKAGE}.{METRICS[name]}").metric(name)
    return metric
