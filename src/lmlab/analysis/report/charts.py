"""Charts as the data that ``charts.js`` draws, and the style of each arm, the same in every chart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lmlab.analysis.report.cells import clipped, visible
from lmlab.analysis.report.document import Chart, Document, Series

REFERENCE = ""
"""The arm of lines that belong to no arm, such as a diagonal; they are grey and cannot be hidden."""
_GREY = ("#808080", "#808080", "#767676", "#818181")
_COLOURS = (
    ("#0072b2", "#0072b2", "#0072b2", "#2989be"),
    ("#d55e00", "#d55e00", "#c25600", "#d55e00"),
    ("#009e73", "#009e73", "#008662", "#009e73"),
    ("#cc79a7", "#cc79a7", "#a36186", "#cc79a7"),
    ("#4b9dcb", "#56b4e9", "#3b7ca1", "#56b4e9"),
    ("#000000", "#666666", "#000000", "#828282"),
    ("#9e962c", "#f0e442", "#7f7923", "#f0e442"),
    ("#c68900", "#e69f00", "#9c6c00", "#e69f00"),
)
"""Okabe and Ito's colours: lines on the light and on the dark background of page.css, then text on both.

They are darkened or lightened just enough for the contrast of WCAG 2.2, 3 for lines and 4.5 for text.
"""
_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star")


@dataclass(frozen=True)
class Style:
    """The style of an arm: colours of lines and of labels on a light and on a dark background, dash and marker."""

    line: tuple[str, str]
    text: tuple[str, str]
    dash: str
    marker: str


def styles(document: Document) -> dict[str, Style]:
    """Return the style of every arm, in the order in which the report mentions them."""
    charts = [part for section in document.sections for part in section.parts if isinstance(part, Chart)]
    names = dict.fromkeys(chain.from_iterable([series.arm for series in chart.series] for chart in charts))
    names.pop(REFERENCE, None)
    return {name: style(index) for index, name in enumerate(names)} | {REFERENCE: _look_of(_GREY)}


def style(index: int) -> Style:
    """Return the style of the arm with this index."""
    dash = _DASHES[index // len(_COLOURS) % len(_DASHES)]
    return _look_of(_COLOURS[index % len(_COLOURS)], dash, _MARKERS[index % len(_MARKERS)])


def _look_of(colours: tuple[str, str, str, str], dash: str = _DASHES[0], marker: str = _MARKERS[0]) -> Style:
    return Style(line=colours[:2], text=colours[2:], dash=dash, marker=marker)


def as_json(chart: Chart, styles: Mapping[str, Style]) -> dict[str, object]:
    """Return the chart as plain containers: ``None`` if not finite, numbers of seven digits, visible texts.

    Args:
        styles: the style of every arm (``styles``).

    Raises:
        ValueError: the coordinates, bounds or details of a series are not as many as its values.
    """
    return {
        "title": visible(chart.title),
        "summary": visible(chart.summary),
        "x": {visible(name): {"label": visible(axis.label), "log": axis.log} for name, axis in chart.x.items()},
        "y": {"label": visible(chart.y.label), "log": chart.y.log, "top": chart.y.top},
        "series": [_series(series, styles[series.arm]) for series in chart.series],
    }


def _series(series: Series, style: Style) -> dict[str, object]:
    columns = {**series.x, "low": series.low, "high": series.high, "details": series.details}
    for name, values in columns.items():
        if values is not None and len(values) != len(series.y):
            raise ValueError(f"series {series.name!r}: {len(values)} values of {name} for {len(series.y)} of y")
    return {
        "name": visible(series.name),
        "arm": visible(series.arm),
        "kind": series.kind,
        "x": {visible(name): _values(values) for name, values in series.x.items()},
        "y": _values(series.y),
        "low": None if series.low is None else _values(series.low),
        "high": None if series.high is None else _values(series.high),
        "details": None if series.details is None else [clipped(text, 300)[0] for text in series.details],
        "style": {"line": style.line, "text": style.text, "dash": style.dash, "marker": style.marker},
    }


def _values(values: Sequence[float | str]) -> list[float | str | None]:
    return [visible(value) if isinstance(value, str) else _finite(value) for value in values]


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None
