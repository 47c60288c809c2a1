"""Runs on generated tasks as a grid: a task a row, a model a column, in each cell the accuracy over the seeds."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from rich.markup import escape

from lmlab.analysis.options import assigned, varied
from lmlab.analysis.records import Record
from lmlab.commands.tables import print_table, say
from lmlab.runs.run import Run

SPLITS = {"validation": "at the length of training", "longer": "on longer sequences"}


def show_grid(runs: Sequence[Run]) -> None:
    """Print, for each split, mean accuracy and standard deviation over seeds of every model on every task."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for run in runs:
        record = Record.of(run)
        groups[str(record.choice("data")), record.architecture].append(record)
    keys = sorted({key for group in groups.values() for key in varied(group)})
    cells: dict[tuple[str, str], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for (task, model), group in groups.items():
        for record in group:
            arm = " ".join(assigned(record, key) for key in keys)
            cells[task, arm][model].append(record.run)
    models = sorted({model for _, model in groups})
    counts = {len(found) for row in cells.values() for found in row.values()}
    equal = len(counts) == 1
    seeds = f"n = {max(counts)} runs in every cell" if equal else "number of runs in brackets"
    for split, where in SPLITS.items():
        if not any(f"{split}/accuracy" in run.manifest["metrics"] for run in runs):
            continue
        rows = []
        for (task, arm), row in sorted(cells.items()):
            shown = {model: accuracy(row.get(model, []), split, with_count=not equal) for model in models}
            rows.append({"task": escape(task), "options": escape(arm), **shown})
        say(f": mean ± standard deviation over seeds, {seeds}", f"\nAccuracy in % {where}")
        print_table("", rows)
    say(f"{len(runs)} runs; lmlab runs lists them, lmlab evaluate run=... split=longer scores one again")


def accuracy(runs: Sequence[Run], split: str, with_count: bool = False) -> str:
    """Mean and sample standard deviation of the runs' accuracy on a split, in per cent; empty without runs."""
    found = [100 * run.manifest["metrics"].get(f"{split}/accuracy", float("nan")) for run in runs]
    if not found:
        return ""
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.1f}{spread}" + (f" ({len(found)})" if with_count else "")
