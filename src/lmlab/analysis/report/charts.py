"""Charts as the data that ``charts.js`` draws with plotly.js, in a report and on the dashboard."""

import math
from collections.abc import Mapping, Sequence

from lmlab.analysis.report.cells import clipped, visible
from lmlab.analysis.report.document import Chart, Series
from lmlab.analysis.report.palette import Style


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
