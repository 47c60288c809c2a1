"""Checks of run directories for the fourteen errors that make comparisons worthless."""

from collections.abc import Sequence

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import budget, data, flops, hidden, models, scoring, seeds, size, tuning
from lmlab.analysis.doubts.arms import differences_between
from lmlab.analysis.doubts.doubt import Doubt, Error
from lmlab.analysis.doubts.equal import held_equal

__all__ = ["ERRORS", "Doubt", "differences_between", "examine", "held_equal"]

ERRORS: Sequence[Error] = (
    Error(1, "unequal context", scoring.unequal_context),
    Error(2, "other data", data.other_data),
    Error(3, "tokens not scored exactly once", data.tokens_not_scored_once),
    Error(4, "different evaluations in one column", scoring.different_evaluations),
    Error(5, "per-token metrics across tokenizers", data.metrics_across_tokenizers),
    Error(6, "unequal tuning", tuning.unequal_tuning),
    Error(7, "unequal budgets or mid-schedule", budget.unequal_budget),
    Error(8, "unequal size", size.unequal_size),
    Error(9, "hidden differences", hidden.hidden_differences),
    Error(10, "wrong FLOPs", flops.wrong_flops),
    Error(11, "causal leakage", models.leakage),
    Error(12, "parallel and stepwise form disagree", models.disagreement),
    Error(13, "too few seeds", seeds.too_few_seeds),
    Error(14, "tuned and concluded on one split", tuning.tuned_on_the_same_split),
)
"""All errors that are checked, in the order of their numbers."""


def examine(comparison: Comparison) -> list[Doubt]:
    """Return the reasons to doubt a conclusion from ``comparison``: refusals first, then by number.

    A fair comparison has none, and so has one without runs. Counting FLOPs again builds each architecture on the meta
    device, which takes milliseconds and no memory; everything else only reads run directories.
    """
    if not comparison.runs:
        return []
    doubts = [doubt for error in ERRORS for doubt in error.doubts(comparison)]
    return sorted(doubts, key=lambda doubt: (doubt.severity != "refuse", doubt.number))
