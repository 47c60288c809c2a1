"""A sweep's results by arm: means over the seeds for each combination of the other varied options."""

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean

from rich.markup import escape

from lmlab.analysis.options import text_of, varied
from lmlab.analysis.records import Record, together
from lmlab.commands.tables import console, print_table, say
from lmlab.errors import UserError
from lmlab.metrics import cost


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
