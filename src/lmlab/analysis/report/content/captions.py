"""Arms that a figure shows, captions of tables and figures, and the text of numbers and lists in sentences."""

import math
from collections.abc import Sequence

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.numerals import counted, written

ARMS_SHOWN = 12
"""Number of lines that a reader can distinguish in a figure."""


def data_of(comparison: Comparison) -> str:
    """Return the names of the data: ``stdlib``."""
    return listed(sorted({run.corpus for run in comparison.runs}), most=4)


def of_runs(comparison: Comparison) -> str:
    """Return the data and number of the runs behind the conclusion: ``stdlib, 3 seeds of each arm``."""
    return f"{data_of(comparison)}, {_seeds(comparison)}"


def caption(text: str) -> str:
    """Return the text with a capital letter, as names of metrics begin in lower case."""
    return text[:1].upper() + text[1:]


def _seeds(comparison: Comparison) -> str:
    numbers = sorted({len(arm.runs) for arm in comparison.arms})
    if not numbers:
        return "no runs"
    several = " of each arm" if len(comparison.arms) > 1 else ""
    if len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]} seeds{several}"
    return f"{counted(numbers[0], 'seed')}{several}"


def shown(comparison: Comparison) -> Sequence[Arm]:
    """Return the arms of figures: all, or the baseline and the best others, in the order of the comparison."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return comparison.arms
    kept = [comparison.arms[0], *(arm for arm in comparison.ranked if arm is not comparison.arms[0])][:ARMS_SHOWN]
    return [arm for arm in comparison.arms if arm in kept]


def of_those_shown(comparison: Comparison) -> str:
    """Return the sentence of a figure's note about arms that it does not show; empty if it shows all."""
    if len(comparison.arms) <= ARMS_SHOWN:
        return ""
    return f" Shown are the baseline and the best {ARMS_SHOWN - 1} of the other {len(comparison.arms) - 1} arms."


def listed(words: Sequence[str], most: int = 8) -> str:
    """Return ``a, b and c``; of more than ``most`` words, the first and the number of the others."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def decimals(scale: float) -> int:
    """Return the number of decimals for a number as large as ``scale``: at least 3, at most 8."""
    if not math.isfinite(scale) or scale == 0:
        return 3
    return min(8, max(3, -math.floor(math.log10(abs(scale)))))


def short(value: float, decimals: int = 4) -> str:
    """Format a number as ``1.2345`` or ``5.00e+29``."""
    return written(value, f"{{:.{decimals}f}}")


def probability(p_value: float) -> str:
    """Format a p value as ``p = 0.032`` or ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}" if p_value < 0.1 else f"p = {p_value:.2f}"
