"""Ranking of arms and settings, and the selection of arms that a figure shows."""

import math
from collections.abc import Sequence

from lmlab.analysis.comparison import Arm, Comparison, Setting

ARMS_SHOWN = 12
"""Number of lines that a reader can distinguish in a figure."""


def minimizes(comparison: Comparison) -> bool:
    """Return whether lower values of the metric are better."""
    return comparison.minimizes


def mean_score(setting: Setting, metric: str) -> float:
    """Return the mean over seeds; nan if one of them diverged."""
    scores = list(setting.scores(metric).values())
    return sum(scores) / len(scores) if scores else math.nan


def ranked(comparison: Comparison) -> list[Arm]:
    """Return the arms, best first; those that diverged come last."""
    sign = 1 if minimizes(comparison) else -1

    def rank(arm: Arm) -> float:
        score = sign * mean_score(arm.chosen, comparison.metric)
        return math.inf if math.isnan(score) else score

    return sorted(comparison.arms, key=rank)


def shown(comparison: Comparison) -> Sequence[Arm]:
    """Return the arms of figures: all, or the baseline and the best others, in the order of the comparison."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return comparison.arms
    kept = [comparison.arms[0], *(arm for arm in ranked(comparison) if arm is not comparison.arms[0])][:ARMS_SHOWN]
    return [arm for arm in comparison.arms if arm in kept]


def of_those_shown(comparison: Comparison) -> str:
    """Return the sentence of a figure's note about arms that it does not show; empty if it shows all."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return ""
    return f" Shown are the baseline and the best {ARMS_SHOWN - 1} of the other {len(comparison.arms) - 1} arms."
