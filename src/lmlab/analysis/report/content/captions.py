"""Captions of tables and figures: the quantity, the split, the corpus and the number of seeds."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.content.wording import listed
from lmlab.numerals import counted


def data_of(comparison: Comparison) -> str:
    """The names of the data: ``stdlib``."""
    return listed(sorted({run.corpus for run in comparison.runs}), most=4)


def of_runs(comparison: Comparison) -> str:
    """``stdlib, 3 seeds of each arm``: what the runs behind the conclusion are on, and how many there are."""
    return f"{data_of(comparison)}, {_seeds(comparison)}"


def caption(text: str) -> str:
    """The text with a capital letter: the names of metrics have none."""
    return text[:1].upper() + text[1:]


def _seeds(comparison: Comparison) -> str:
    numbers = sorted({len(arm.chosen.runs) for arm in comparison.arms})
    if not numbers:
        return "no runs"
    several = " of each arm" if len(comparison.arms) > 1 else ""
    if len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]} seeds{several}"
    return f"{counted(numbers[0], 'seed')}{several}"
