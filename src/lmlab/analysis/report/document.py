"""The parts of a report, independent of its format: paragraphs, tables, charts and texts side by side."""

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
        form: a format of Python's for its numbers.
        better: the better direction of its numbers.
        best: the rows that may be the best: the best one, and those that do not differ significantly.
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
    """Rows of cells below columns; a table of runs can be filtered by them.

    Attributes:
        name: for files and links; lower case, without spaces.
        title: shown above it.
        note: shown below it: how it was computed.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | Interval]]
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis with its label and unit.

    Attributes:
        log: True for a logarithmic axis.
        top: upper end of a linear axis; ``None``: the largest value.
    """

    label: str
    log: bool = False
    top: float | None = None


@dataclass(frozen=True)
class Series:
    """A line, points or bars of one arm.

    Attributes:
        name: its direct label.
        arm: the arm that determines its colour, the same in every chart.
        x: by the name of an x axis; as long as ``y``. Texts are categories.
        y: values.
        low, high: of the band or the error bars around the values.
        details: a text for each point.
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
    """A figure; of several x axes, the reader can select one.

    Attributes:
        name: for files and links; lower case, without spaces.
        title: the subject of the figure.
        x: the axes to select from, by name; the first is the default.
        summary: the content in words, for readers who cannot see it.
        note: shown below it: how it was computed.
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
    """Text to copy: a command, a configuration."""

    text: str


@dataclass(frozen=True)
class SideBySide:
    """Texts to compare, each with a heading."""

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
        title: its subject.
        conclusion: one sentence with its interval.
        doubts: reasons for doubt; each names the runs. ``None``: nothing was concluded that could be doubted.
        sections: in reading order.
        about: one line on its origin.
        refused: True if a doubt rules out any conclusion.
    """

    title: str
    conclusion: str
    doubts: Sequence[Note] | None
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
    """Yield every section with its name and its parts."""
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
