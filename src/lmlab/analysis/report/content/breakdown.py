"""Sources of the loss: calibration, loss by position in the context and by frequency of the token."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmlab.analysis.comparison import Arm, Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_runs, of_those_shown, short, shown
from lmlab.analysis.report.document import Axis, Chart, Section, Series, Text
from lmlab.runs.files import numbers, read_json

BINS = 15
"""Equal bins of confidence, as in the calibration error."""

_BAND = "Mean over seeds; band: from the lowest to the highest seed. Final weights on the validation split."

Point = tuple[float, float]
Breakdown = Mapping[str, Sequence[Mapping[str, float]]]


def breakdown(comparison: Comparison) -> Section | None:
    """Break down the loss of the final weights, for the runs that recorded a breakdown."""
    by_arm: dict[str, list[Breakdown]] = {}
    unread = []
    for arm in shown(comparison):
        parts = [(run, read(run)) for run in arm.runs]
        by_arm[arm.name] = [part for _, part in parts if part]
        unread += [run.label for run, part in parts if part is None and (run.run.path / "breakdown.json").exists()]
    note = _BAND + of_those_shown(comparison)
    charts = [
        chart
        for chart in (
            _calibration(comparison, by_arm, note),
            _loss(comparison, by_arm, "position", "position (tokens read before the one predicted)", note),
            _loss(comparison, by_arm, "frequency", "frequency (occurrences in the training split)", note),
        )
        if chart is not None
    ]
    warnings = [Text(f"breakdown.json cannot be read: {', '.join(unread)}.")] if unread else []
    return Section("Where the loss comes from", [*charts, *warnings]) if charts or warnings else None


def read(run: Record) -> Breakdown | None:
    """Return the breakdown of a run; ``None`` if it has none that can be read."""
    try:
        content = numbers(read_json(run.run.path / "breakdown.json"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _bands(
    breakdowns: Sequence[Breakdown], kind: str, key: Callable[[Any], Any], point: Callable[[Any], Point]
) -> list[tuple[float, float, float, float]]:
    """Return (x, y, low, high) of each bin that all seeds have: mean, least and greatest over seeds, ordered by x."""
    bins: dict[Any, list[Point]] = defaultdict(list)
    for part in breakdowns:
        for row in part.get(kind, ()):
            if row["tokens"] > 0 and _is_finite(row):
                bins[key(row)].append(point(row))
    several = [rows for rows in bins.values() if len(rows) == len(breakdowns)]
    means = []
    for rows in several:
        x, y = zip(*rows, strict=True)
        means.append((sum(x) / len(x), sum(y) / len(y), min(y), max(y)))
    return sorted(means)


def _is_finite(row: Mapping[str, Any]) -> bool:
    return all(math.isfinite(value) for value in row.values() if isinstance(value, (int, float)))


def _series(comparison: Comparison, by_arm: Mapping[str, list[Breakdown]], kind: str, *how: Any) -> list[Series]:
    series = []
    for arm in _with(comparison, by_arm):
        if bands := _bands(by_arm[arm.name], kind, *how):
            x, y, low, high = zip(*bands, strict=True)
            several = len(by_arm[arm.name]) > 1
            band = (low, high) if several else (None, None)
            series.append(Series(arm.name, arm.name, {kind: x}, y, *band))
    return series


def _with(comparison: Comparison, by_arm: Mapping[str, list[Breakdown]]) -> list[Arm]:
    return [arm for arm in comparison.arms if by_arm.get(arm.name)]


def _calibration(comparison: Comparison, by_arm: Mapping[str, list[Breakdown]], note: str) -> Chart | None:
    series = _series(
        comparison,
        by_arm,
        "calibration",
        lambda row: math.ceil(row["confidence"] * BINS),
        lambda row: (row["confidence"], row["accuracy"]),
    )
    if not series:
        return None
    exact = Series("accuracy equals confidence", "", {"calibration": [0.0, 1.0]}, [0.0, 1.0], kind="dashes")
    errors = [
        f"{one.name} is off by at most "
        f"{max(abs(y - float(x)) for x, y in zip(one.x['calibration'], one.y, strict=True)):.3f}"
        for one in series
    ]
    return Chart(
        "calibration",
        f"Accuracy of predictions by their confidence; validation split of {of_runs(comparison)}",
        {"calibration": Axis("confidence of the most probable token (probability)")},
        Axis("accuracy (fraction right)"),
        [*series, exact],
        f"Accuracy against confidence; on the diagonal, they are equal: {'; '.join(errors)}.",
        f"{note} Dashes: accuracy equals confidence.",
    )


def _loss(
    comparison: Comparison, by_arm: Mapping[str, list[Breakdown]], kind: str, label: str, note: str
) -> Chart | None:
    # Bins hold from <= value < to. Position 0 is predicted from one token; a count of 0 has no place on such an axis.
    first = 1 if kind == "position" else 0
    series = _series(
        comparison,
        by_arm,
        kind,
        lambda row: (row["from"], row["to"]),
        lambda row: (math.sqrt(max(row["from"] + first, 0.5) * max(row["to"] - 1 + first, 0.5)), row["loss"]),
    )
    if not series:
        return None
    ends = [f"{one.name} from {short(one.y[0], 3)} to {short(one.y[-1], 3)}" for one in series]
    return Chart(
        f"loss-by-{kind}",
        f"Loss by {'position in the context' if kind == 'position' else 'frequency of the token'}; validation split of "
        f"{of_runs(comparison)}",
        {kind: Axis(label, log=True)},
        Axis("loss (nats/token)"),
        series,
        f"Loss from the first bin to the last: {'; '.join(ends)}.",
        f"{note} A bin is drawn at the geometric mean of its ends{'' if first else ', of tokens never seen at 0.5'}.",
    )
