"""The charts of a report as PDF, SVG and PNG for a paper, drawn by matplotlib in the colours of the page."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.analysis.report import charts
from lmlab.analysis.report.cells import clipped
from lmlab.analysis.report.charts import Style
from lmlab.analysis.report.document import Chart, Document, Series, placed
from lmlab.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (5.5, 3.2)  # inches: the width of a text column of most conferences, labels included
_DOTS_PER_INCH = 300
_UNDATED: Any = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_POINTS_WITH_MARKERS = 20
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^",
    "cross": "P", "triangle-down": "v", "x": "X", "star": "*",
}  # fmt: skip
_LOOK: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dcdcd7",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "pdf.fonttype": 42,  # TrueType, as publishers require
    "svg.hashsalt": "lmlab",  # equal figures are equal files
    "text.parse_math": False,  # dollars in names are plain characters
}


def write(document: Document, folder: Path, endings: Sequence[str]) -> list[Path]:
    """Write ``figures/<name>.<ending>`` of every chart, and ``figures/<name>-<axis>.<ending>`` for its other x axes.

    Args:
        endings: of ``pdf``, ``png`` and ``svg``.

    Returns:
        The files, in the order of the report. A PNG has its caption above it.

    Raises:
        UserError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("figures need the package matplotlib (pip install 'lmlab[report]')") from None
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    styles = charts.styles(document)
    files = []
    drawn = [place for _, _, parts in placed(document) for place in parts if isinstance(place.part, Chart)]
    with matplotlib.rc_context(_LOOK):
        for place in drawn:
            assert isinstance(place.part, Chart)
            for index, axis in enumerate(place.part.x):
                figure = draw(place.part, axis, styles)
                figure.draw_without_rendering()  # computes the layout once for all files
                figure.set_layout_engine(None)
                name = place.name if index == 0 else f"{place.name}-{axis}"
                for ending in sorted(endings, key=lambda ending: ending == "png"):
                    tight = None
                    if ending == "png":  # shown without surrounding text
                        caption = textwrap.fill(_short(f"{place.label}. {place.part.title}", 400), 96)
                        figure.text(0.01, 1.02, caption, fontsize=8, va="bottom")
                        tight = "tight"
                    files.append(folder / "figures" / f"{name}.{ending}")
                    figure.savefig(files[-1], dpi=_DOTS_PER_INCH, bbox_inches=tight, metadata=_UNDATED.get(ending))
    return files


def draw(chart: Chart, axis: str, styles: dict[str, Style]) -> "Figure":
    """Return the figure of a chart over one of its x axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    shown = [series for series in chart.series if axis in series.x]
    categories = list(dict.fromkeys(x for series in shown for x in series.x[axis] if isinstance(x, str)))
    if chart.x[axis].log and not categories and _positive(x for series in shown for x in series.x[axis]):
        axes.set_xscale("log")
    if chart.y.log and _positive(y for series in shown for y in series.y):
        axes.set_yscale("log")
    bars = [series for series in shown if series.kind == "bars"]
    for series in shown:
        if categories:
            shift, width = _slot(series, bars)
            x: list[float] = [categories.index(str(value)) + shift for value in series.x[axis]]
        else:
            x, width = [float(value) for value in series.x[axis]], 0.0
        _series(axes, series, x, width, styles[series.arm])
    if chart.y.top is not None and not chart.y.log:
        least = min(value for series in shown for value in series.low or series.y if math.isfinite(value))
        axes.set_ylim(least - 0.05 * (chart.y.top - least), chart.y.top)
    if categories:
        axes.set_xticks(range(len(categories)), [_short(category) for category in categories])
    _ticks(axes, categories=bool(categories))
    axes.set_xlabel(_short(chart.x[axis].label, 80))
    axes.set_ylabel(_short(chart.y.label, 50))
    ends = None if categories or bars else _ends(axes, shown, axis, None if chart.y.log else chart.y.top)
    if ends is not None:
        _labels(axes, ends, styles)
    elif shown:
        _legend(axes, shown, styles)
    return figure


def _series(axes: "Axes", series: Series, x: list[float], width: float, style: Style) -> None:
    y = [value if math.isfinite(value) else math.nan for value in series.y]
    low, high, marks = series.low, series.high, _marks(series, style)
    if series.kind in ("line", "dashes"):
        axes.plot(x, y, linewidth=0.9 if series.kind == "dashes" else None, **marks)
        if low is not None and high is not None:
            drawn = [math.isfinite(sum(values)) for values in zip(y, low, high, strict=True)]
            axes.fill_between(x, low, high, where=drawn, color=marks["color"], alpha=0.18, linewidth=0)
        return
    errors = None
    if low is not None and high is not None:
        errors = [[_length(value - bound) for value, bound in zip(y, low, strict=True)],
                  [_length(bound - value) for value, bound in zip(y, high, strict=True)]]  # fmt: skip
    if series.kind == "bars":
        axes.bar(x, y, yerr=errors, width=width or 0.8, ecolor="#1b1c1f", color=marks["color"])
    else:
        axes.errorbar(x, y, yerr=errors, elinewidth=0.8, **marks)


def _marks(series: Series, style: Style) -> dict[str, Any]:
    """Return matplotlib's options for the lines and markers of a series; a line of many points has no markers."""
    dash = {"line": _DASHES[style.dash], "dashes": "--"}.get(series.kind, "")
    marker = {"bars": "s", "dashes": ""}.get(series.kind, _MARKERS[style.marker])
    many = series.kind == "line" and len(series.y) > _POINTS_WITH_MARKERS
    return {"linestyle": dash, "marker": "" if many else marker, "color": style.line[0]}


def _ends(
    axes: "Axes", shown: Sequence[Series], axis: str, top: float | None = None
) -> dict[str, tuple[float, float, Series]] | None:
    """Return the last point of every line by its name; ``None`` if one ends before the right edge, or has points only.

    A name there would cover other lines. Lines that are cut off end at ``top``.
    """
    lined = {series.arm for series in shown if series.kind in ("line", "dashes")}
    ends: dict[str, tuple[float, float, Series]] = {}
    for series in shown:
        if series.kind == "points" and series.arm not in lined:
            return None
        points = [(float(x), y) for x, y in zip(series.x[axis], series.y, strict=True) if _drawable(axes, float(x), y)]
        if points and series.name not in ends and series.kind != "points":
            x, y = max(points)
            ends[series.name] = (x, y if top is None else min(y, top), series)
    axes.figure.canvas.draw()  # fixes the limits, which determine the places of labels
    left, right = axes.get_xaxis().get_view_interval()
    at = axes.get_xaxis().get_transform().transform
    edge = float(at(left) + 0.92 * (at(right) - at(left)))
    return ends if all(at(x) >= edge for x, _, _ in ends.values()) else None


def _labels(axes: "Axes", ends: dict[str, tuple[float, float, Series]], styles: dict[str, Style]) -> None:
    """Write names at the ends of lines, moved apart where they would overlap."""
    height = 9.0 * axes.figure.dpi / 72
    places = sorted((float(axes.transData.transform((x, y))[1]), name) for name, (x, y, _) in ends.items())
    below = -math.inf
    for pixel, name in places:
        below = max(pixel, below + height)
        x, y, series = ends[name]
        offset = (4.0, (below - pixel) * 72 / axes.figure.dpi)
        axes.annotate(_short(name), (x, y), offset, textcoords="offset points", va="center", annotation_clip=False,
                      color=styles[series.arm].text[0], fontsize=7)  # fmt: skip


def _ticks(axes: "Axes", *, categories: bool) -> None:
    """Format the numbers at the axes without mathematical notation: SI prefixes for large ones, as on the page."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for axis in (axes.yaxis,) if categories else (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        large = max(abs(low), abs(high)) >= 1e4
        if large:
            axis.set_major_formatter(EngFormatter(sep=""))
        if axis.get_scale() == "log":
            if not large:
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            decades = math.log10(high / low)
            if decades <= 0.7:
                axis.set_major_locator(MaxNLocator(5))
            elif decades <= 3:
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(NullFormatter())


def _legend(axes: "Axes", shown: Sequence[Series], styles: dict[str, Style]) -> None:
    """Draw the legend above the figure, for series that cannot be labelled at the right edge."""
    from matplotlib.lines import Line2D

    handles: dict[str, Line2D] = {}
    for series in shown:
        handle = Line2D([], [], label=_short(series.name), **_marks(series, styles[series.arm]))
        handles.setdefault(series.name, handle)
    longest = max((len(_short(name)) for name in handles), default=0)
    place: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": max(1, min(6, 88 // (longest + 7)))}
    axes.legend(handles=list(handles.values()), frameon=False, fontsize=7, handlelength=1.8, columnspacing=1.5, **place)


def _slot(series: Series, bars: Sequence[Series]) -> tuple[float, float]:
    """Return the offset of a series among those of its category, and the width of its bars."""
    if series.kind != "bars":
        return 0.0, 0.0
    index = next(i for i, other in enumerate(bars) if other is series)
    return 0.8 * ((index + 0.5) / len(bars) - 0.5), 0.8 / len(bars)


def _drawable(axes: "Axes", x: float, y: float) -> bool:
    return (
        math.isfinite(x) and math.isfinite(y)
        and (x > 0 or axes.get_xscale() != "log") and (y > 0 or axes.get_yscale() != "log")
    )  # fmt: skip


def _positive(values: Any) -> bool:
    return any(value > 0 for value in values)


def _length(value: float) -> float:
    return max(value, 0.0) if math.isfinite(value) else 0.0


def _short(text: str, length: int = 28) -> str:
    text = " ".join(clipped(text, length)[0].split())
    return text if len(text) <= length else text[: length - 1] + "…"
