"""What a report consists of, whatever it is written in: paragraphs, tables, charts and texts side by side."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Cell = str | float | int | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        form: how its numbers are written (a format of Python's).
        better: which of its numbers are.
        best: the rows whose number may be the best: that one, and those that cannot be told apart from it.
    """

    heading: str
    unit: str = ""
    form: str = "{}"
    better: Literal["lower", "higher"] | None = None
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Interval:
    """A number with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Table:
    """Rows of cells below columns; one that holds runs can be filtered by them.

    Attributes:
        name: for files and links; lower case, without spaces.
        title: above it.
        note: below it: how it was computed.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | Interval]]
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, with its unit.

    Attributes:
        log: it is logarithmic.
        top: where it ends as long as it is linear; ``None``: at the largest value.
    """

    label: str
    log: bool = False
    top: float | None = None


@dataclass(frozen=True)
class Series:
    """A line, points or bars of one arm.

    Attributes:
        name: its direct label.
        arm: what its colour follows from; the same in every chart.
        x: by the name of an x axis; equally long as ``y``. Texts are categories.
        y: values.
        low, high: of the band or the error bars around them.
        details: what is shown for each point.
    """

    name: str
    arm: str
    x: Mapping[str, Sequence[float | str]]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "bars", "dashes"] = "line"
    details: Sequence[str] | None = None


@dataclass(frozen=True)
class Chart:
    """A figure whose x axis can be chosen where there are several.

    Attributes:
        name: for files and links; lower case, without spaces.
        title: what is to be seen.
        x: the axes to choose from, by name; the first is shown at first.
        summary: in words, for those who cannot see it.
        note: below it: how it was computed.
    """

    name: str
    title: str
    x: Mapping[str, Axis]
    y: Axis
    series: Sequence[Series]
    summary: str
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Code:
    """What is to be copied: a command, a configuration."""

    text: str


@dataclass(frozen=True)
class SideBySide:
    """Texts with a heading each, to be compared."""

    texts: Mapping[str, str]


@dataclass(frozen=True)
class Note:
    """A remark for the reader, and the commands that would change its cause."""

    text: str
    commands: Sequence[str] = ()


Part = Text | Code | SideBySide | Table | Chart


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: what it is about.
        conclusion: one sentence with its interval.
        doubts: what a reader has to know before believing it; each names the runs.
        sections: in reading order.
        about: one line on where it comes from.
        refused: whether a doubt takes the conclusion away.
    """

    title: str
    conclusion: str
    doubts: Sequence[Note]
    sections: Sequence[Section]
    about: str = field(default="")
    refused: bool = False


@dataclass(frozen=True)
class Placed:
    """A part in its place: its name, unique in the report and fit for a file, and its label (``Figure 3``) or ""."""

    part: Part
    name: str
    label: str


def placed(document: Document) -> Iterator[tuple[Section, str, list[Placed]]]:
    """Every section with its name and its parts."""
    taken: Counter[str] = Counter()
    figures = tables = 0
    for section in document.sections:
        name = _unique(f"section {section.title}", taken)
        parts = []
        for part in section.parts:
            if isinstance(part, Chart):
                figures += 1
                parts.append(Placed(part, _unique(part.name, taken), f"Figure {figures}"))
            elif isinstance(part, Table):
                tables += 1
                parts.append(Placed(part, _unique(part.name, taken), f"Table {tables}"))
            else:
                parts.append(Placed(part, "", ""))
        yield section, name, parts


def _unique(text: str, taken: Counter[str]) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
    taken[name] += 1
    return name if taken[name] == 1 else _unique(f"{name}-{taken[name]}", taken)
