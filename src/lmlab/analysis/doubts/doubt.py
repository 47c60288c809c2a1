"""Errors that make a comparison worthless, or less sure than it looks: one :class:`Error` for each of the fourteen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record

Severity = Literal["refuse", "doubt"]


@dataclass(frozen=True)
class Doubt:
    """A reason to doubt a comparison.

    Attributes:
        number: of the error, 1 to 14.
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


Find = Callable[[Comparison], Iterator[Finding]]


@dataclass(frozen=True)
class Error:
    """A kind of error and its check.

    Attributes:
        number: its number, 1 to 14.
        name: in a few words.
        find: the check; yields a finding each time that a comparison commits the error.
    """

    number: int
    name: str
    find: Find

    def doubts(self, comparison: Comparison) -> list[Doubt]:
        """Return a doubt for each time that ``comparison`` commits this error."""
        return [
            Doubt(
                self.number,
                self.name,
                finding.severity,
                finding.text,
                tuple(run.label for run in finding.runs),
                tuple(finding.commands),
            )
            for finding in self.find(comparison)
        ]
