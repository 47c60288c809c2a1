"""Charts as the data that ``charts.js`` draws, and the style of each arm, the same in every chart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lmlab.analysis.report.cells import clipped, visible
from lmlab.analysis.report.document import Chart, Document, Series

LIGHT, DARK = "#ffffff", "#16181d"  # the backgrounds of page.css
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000", "#f0e442", "#e69f00")
REFERENCE = ""
"""The arm of lines that belong to no arm, such as a diagonal; they are grey and cannot be hidden."""
_GREY = "#808080"
_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star")
_LINES_CONTRAST, _TEXT_CONTRAST = 3.0, 4.5  # WCAG 2.2, success criteria 1.4.11 and 1.4.3


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
    dash = _DASHES[index // len(OKABE_ITO) % len(_DASHES)]
    return _look_of(OKABE_ITO[index % len(OKABE_ITO)], dash, _MARKERS[index % len(_MARKERS)])


def _look_of(colour: str, dash: str = _DASHES[0], marker: str = _MARKERS[0]) -> Style:
    return Style(
        line=(readable(colour, LIGHT, _LINES_CONTRAST), readable(colour, DARK, _LINES_CONTRAST)),
        text=(readable(colour, LIGHT, _TEXT_CONTRAST), readable(colour, DARK, _TEXT_CONTRAST)),
        dash=dash,
        marker=marker,
    )


def readable(colour: str, ground: str, contrast: float) -> str:
    """Return the colour, darkened (on a light ground) or lightened (on a dark one) just enough for the contrast."""
    end = 0.0 if luminance(ground) > 0.5 else 255.0
    channels = _channels(colour)
    for step in range(101):
        mixed = "#" + "".join(f"{round(channel + (end - channel) * step / 100):02x}" for channel in channels)
        if contrast_ratio(mixed, ground) >= contrast:
            return mixed
    raise ValueError(f"no shade of {colour} has a contrast of {contrast} on {ground}")


def contrast_ratio(first: str, second: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the luminance of a colour ``#rrggbb``, 0 to 1 (WCAG 2.2, "relative luminance")."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def as_json(chart: Chart, styles: Mapping[str, Style]) -> dict[str, object]:
    """Return the chart as plain containers: ``None`` if not finite, numbers of seven digits, visible texts.

    Args:
        styles: the style of every arm (``palette.styles``).

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
