"""Errors that make a comparison worthless, or less sure than it looks: one :class:`Error` for each of the fourteen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record

Severity = Literal["refuse", "doubt"]


@dataclass(frozen=True)
class Doubt:
    """One thing that a reader has to know before believing a comparison.

    Attributes:
        number: of the error, 1 to 14.
        name: of the error, in a few words.
        severity: ``refuse``: no conclusion must be drawn; ``doubt``: it is to be read with this in mind.
        text: what was found, with its numbers, and what would cure it.
        runs: labels of the runs that it is about.
        commands: that cure it, each as it would be typed, in this order.
    """

    number: int
    name: str
    severity: Severity
    text: str
    runs: Sequence[str]
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """A doubt as the function that finds it states it: how severe, in what words, about which runs, and the cure."""

    severity: Severity
    text: str
    runs: Sequence[Record]
    commands: Sequence[str] = ()


Find = Callable[[Comparison], Iterator[Finding]]


@dataclass(frozen=True)
class Error:
    """A kind of error and what looks for it.

    Attributes:
        number: its number, 1 to 14.
        name: in a few words.
        find: yields where a comparison commits it; nothing for one that does not.
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
                found.severity,
                found.text,
                tuple(run.label for run in found.runs),
                tuple(found.commands),
            )
            for found in self.find(comparison)
        ]
