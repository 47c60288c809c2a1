"""Checks of run directories for the eighteen errors that make comparisons worthless."""

from collections.abc import Callable, Iterator, Mapping

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import answers, data, hidden, models, scoring, seeds, size, tuning
from lmlab.analysis.doubts.arms import differences_between
from lmlab.analysis.doubts.doubt import Doubt, Finding
from lmlab.analysis.doubts.equal import held_equal

__all__ = ["ERRORS", "Doubt", "differences_between", "examine", "held_equal"]

ERRORS: Mapping[str, Callable[[Comparison], Iterator[Finding]]] = {
    "unequal context": scoring.unequal_context,
    "other data": data.other_data,
    "tokens not scored exactly once": data.tokens_not_scored_once,
    "different evaluations in one column": scoring.different_evaluations,
    "per-token metrics across tokenizers": data.metrics_across_tokenizers,
    "unequal tuning": tuning.unequal_tuning,
    "unequal budgets or mid-schedule": size.unequal_budget,
    "unequal size": size.unequal_size,
    "hidden differences": hidden.hidden_differences,
    "wrong FLOPs": models.wrong_flops,
    "causal leakage": models.leakage,
    "parallel and stepwise form disagree": models.disagreement,
    "too few seeds": seeds.too_few_seeds,
    "tuned and concluded on the same split or runs": tuning.tuned_on_the_same_split,
    "metrics by different rules": answers.different_rules,
    "answers seen in training": answers.answers_seen_in_training,
    "different decoding": answers.different_decoding,
    "answers beyond the vocabulary": answers.answers_beyond_the_vocabulary,
}
"""The check of each error by its name, in the order of their numbers, from 1; it yields each time that it occurs."""


def examine(comparison: Comparison) -> list[Doubt]:
    """Return the reasons to doubt a conclusion from ``comparison``: refusals first, then by number.

    A fair comparison has none, and so has one without runs. Counting FLOPs again builds each architecture on the meta
    device, which takes milliseconds and no memory; everything else only reads run directories.
    """
    if not comparison.runs:
        return []
    doubts = [
        Doubt(number, name, each.severity, each.text, tuple(run.label for run in each.runs), tuple(each.commands))
        for number, (name, check) in enumerate(ERRORS.items(), 1)
        for each in check(comparison)
    ]
    return sorted(doubts, key=lambda doubt: (doubt.severity != "refuse", doubt.number))
