"""Which arms and settings are better, and which arms a figure can show."""

import math
from collections.abc import Sequence

from lmlab.analysis.comparison import Arm, Comparison, Setting

ARMS_SHOWN = 12
"""Lines that a figure can hold and a reader tell apart."""


def minimizes(comparison: Comparison) -> bool:
    """Whether less of the metric is better."""
    return comparison.minimizes


def mean_score(setting: Setting, metric: str) -> float:
    """The mean over seeds; nan if one of them diverged."""
    scores = list(setting.scores(metric).values())
    return sum(scores) / len(scores) if scores else math.nan


def ranked(comparison: Comparison) -> list[Arm]:
    """The arms, best first; those that diverged come last."""
    sign = 1 if minimizes(comparison) else -1

    def rank(arm: Arm) -> float:
        score = sign * mean_score(arm.chosen, comparison.metric)
        return math.inf if math.isnan(score) else score

    return sorted(comparison.arms, key=rank)


def shown(comparison: Comparison) -> Sequence[Arm]:
    """The arms of figures: all of them, or the baseline and the best of the others, in the order of the comparison."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return comparison.arms
    kept = [comparison.arms[0], *(arm for arm in ranked(comparison) if arm is not comparison.arms[0])][:ARMS_SHOWN]
    return [arm for arm in comparison.arms if arm in kept]


def of_those_shown(comparison: Comparison) -> str:
    """What the note of a figure has to say where it does not show every arm."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return ""
    return f" Shown are the baseline and the best {ARMS_SHOWN - 1} of the other {len(comparison.arms) - 1} arms."
