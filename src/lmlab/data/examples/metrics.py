"""The metrics of answers by name."""

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lmlab.errors import UserError, nearest

if TYPE_CHECKING:
    from lmlab.data.judges.answers import AnswerMetric, TextsMetric

_PACKAGE = "lmlab.data.judges"
METRICS = {
    **dict.fromkeys(("exact_match", "f1"), "question_answering"),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL"), "summarisation"),
    **dict.fromkeys(("bleu", "chrf"), "translation"),
    **dict.fromkeys(("distinct1", "distinct2", "repetition", "self_bleu", "last_word"), "generation"),
    "verified": "verified",
}
"""Modules of the metrics, by the names that ``data.metrics`` gives them."""
LIKELIHOOD = "likelihood"
"""In the first place, the name of the metrics by the probability of the right answers, which are always computed."""


def check_names(metrics: Iterable[Any]) -> None:
    """Refuse names of metrics that do not exist, and the same name twice. Raises ``UserError``."""
    names = [each for each in metrics if isinstance(each, str)]
    for number, name in enumerate(names):
        if name not in METRICS:
            raise UserError(f"data.metrics={name}: no such metric{nearest(name, [*METRICS, LIKELIHOOD], listed=20)}")
        if name in names[:number]:
            raise UserError(f"data.metrics: {name} is named twice")


def answer_metrics(metrics: Iterable[Any]) -> "list[AnswerMetric | TextsMetric]":
    """Return new metrics of answers by their names; metrics are returned as they are.

    Raises:
        UserError: one is no metric, two have the same name, or a library is not installed.
    """
    from lmlab.data.judges.answers import AnswerMetric, TextsMetric

    listed = [
        importlib.import_module(f"{_PACKAGE}.{METRICS[each]}").metric(each) if isinstance(each, str) else each
        for each in metrics
    ]
    for each in listed:
        if not isinstance(each, AnswerMetric | TextsMetric):
            raise UserError(
                f"data.metrics: {type(each).__name__} is no metric; expected a name, or a subclass of "
                f"{_PACKAGE}.AnswerMetric"
            )
    names = [each.metric.name for each in listed]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"data.metrics: {twice} is the name of two metrics")
    return listed
