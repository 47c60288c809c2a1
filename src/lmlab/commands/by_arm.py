"""A sweep's results by arm, and as a grid of tasks and models: means over the seeds."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean

from rich.markup import escape

from lmlab.analysis.options import assigned, text_of, varied
from lmlab.analysis.records import Record, together
from lmlab.commands.tables import console, print_table, say
from lmlab.errors import UserError
from lmlab.metrics import Measures, cost, score_of, split_of
from lmlab.runs.run import Run


def show_by_arm(records: Sequence[Record], where: str) -> bool:
    """Print a row for each arm, best first, if any arm has several runs; return whether the table was printed.

    Arms are compared by the first metric that tables show and all runs have. For an arm with several runs, the 95 %
    interval of the mean is shown.

    Args:
        where: what the runs were scored on, for the title.
    """
    keys = varied(records)
    arms: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        arms[tuple(text_of(record, key) for key in keys)].append(record)
    measures = together(records)
    metric = next((name for name in measures.shown if all(record.metric(name) is not None for record in records)), None)
    if metric is None or len(arms) == len(records):
        return False
    estimates = {arm: _estimate([float(one.metric(metric) or 0.0) for one in own]) for arm, own in arms.items()}
    rows = []
    better = measures.better(metric)
    for arm, (mean, low, high, n) in sorted(estimates.items(), key=lambda item: cost(item[1][0], better)):
        options = dict(zip(keys, map(escape, arm), strict=True)) or {"arm": escape(arms[arm][0].manifest["name"])}
        bounds = "" if math.isnan(low) else f"{measures.written(metric, low)} to {measures.written(metric, high)}"
        row = {measures.label(metric): measures.written(metric, mean), "95 % interval": bounds, "n": str(n)}
        rows.append({**options, **row})
    say("", f"Results by arm on {where}, the mean of n runs, best first")
    print_table("", rows)
    console.print()
    return True


def _estimate(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Return the mean, the bounds of its 95 % interval, and the number of values.

    The bounds are nan for a single value, or without scipy.
    """
    if len(values) > 1:
        from lmlab.analysis.statistics.intervals import mean_interval

        with suppress(UserError):  # scipy is an optional dependency
            estimate = mean_interval(values)
            return estimate.mean, estimate.low, estimate.high, estimate.n
    return fmean(values), math.nan, math.nan, len(values)


SPLITS = {"validation": "at the length of training", "longer": "on longer sequences"}
"""Descriptions of the splits on which tasks are scored."""


def show_grid(runs: Sequence[Run]) -> None:
    """Print, for each split, mean and standard deviation over seeds of every model's primary metric on every task."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    records = [Record.of(run) for run in runs]
    measures = together(records)
    for record in records:
        groups[str(record.choice("data")), record.architecture].append(record)
    keys = sorted({key for group in groups.values() for key in varied(group)})
    cells: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for (task, model), group in groups.items():
        for record in group:
            arm = " ".join(assigned(record, key) for key in keys)
            cells[task, arm][model].append(record)
    models = sorted({model for _, model in groups})
    counts = {len(group) for row in cells.values() for group in row.values()}
    equal = len(counts) == 1
    seeds = f"n = {max(counts)} runs in every cell" if equal else "number of runs in brackets"
    names = [name for name in measures.shown if score_of(name) == score_of(measures.primary)]
    for name in names:
        if not any(name in record.manifest["metrics"] for record in records):
            continue
        rows = []
        for (task, arm), row in sorted(cells.items()):
            shown = {model: over_seeds(row.get(model, []), name, with_count=not equal) for model in models}
            rows.append({"task": escape(task), "options": escape(arm), **shown})
        split, heading = split_of(name), measures.metrics[score_of(name)].heading
        unit = " in %" if _is_share(measures, name) else ""
        where = SPLITS.get(split, f"on the {split} split")
        say(f": mean ± standard deviation over seeds, {seeds}", f"\n{heading[:1].upper()}{heading[1:]}{unit} {where}")
        print_table("", rows)
    again = f"lmlab evaluate run=... split={split_of(names[-1])}"
    say(f"{len(runs)} runs; lmlab runs lists them, {again} scores one again")


def over_seeds(records: Sequence[Record], name: str, with_count: bool = False) -> str:
    """Return mean and sample standard deviation of a metric as text; shares are in per cent. Empty without runs."""
    values = [record.manifest["metrics"].get(name, float("nan")) for record in records]
    if not values:
        return ""
    measures = records[0].measures

    def shown(value: float) -> str:
        return measures.written(name, value).removesuffix("%")

    spread = f" ± {shown(statistics.stdev(values))}" if len(values) > 1 else ""
    return f"{shown(statistics.fmean(values))}{spread}" + (f" ({len(values)})" if with_count else "")


def _is_share(measures: Measures, name: str) -> bool:
    """Return whether values of a metric are shown in per cent."""
    return measures.written(name, 0.0).endswith("%")
