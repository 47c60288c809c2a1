"""Reasons to doubt a comparison, as checks yield them and as reports show them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.analysis.commands import train_again
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record

Severity = Literal["refuse", "doubt"]


@dataclass(frozen=True)
class Doubt:
    """A reason to doubt a comparison.

    Attributes:
        number: of the error, 1 to 17.
        name: of the error, in a few words.
        severity: ``refuse``: no conclusion may be drawn; ``doubt``: the conclusion is less certain.
        text: the finding with its numbers, and the remedy.
        runs: labels of the runs concerned.
        commands: commands that remedy it, as they would be typed, in this order.
    """

    number: int
    name: str
    severity: Severity
    text: str
    runs: Sequence[str]
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """A doubt as its check yields it: severity, text, runs and commands of the remedy."""

    severity: Severity
    text: str
    runs: Sequence[Record]
    commands: Sequence[str] = ()


def flawed(
    comparison: Comparison,
    severity: Severity,
    runs: Sequence[Record],
    text: str,
    among: Sequence[Record] | None = None,
) -> Iterator[Finding]:
    """Yield a finding about some of the runs, if there are any; its remedy is to train them again.

    Args:
        text: begins after their number, ``2 of 6``.
        among: the runs that they are part of; ``None``: all runs that the conclusion is based on.
    """
    if runs:
        number = len(comparison.runs if among is None else among)
        yield Finding(severity, f"{len(runs)} of {number} {text}", runs, train_again(comparison, runs))
