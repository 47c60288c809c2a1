"""Grid of runs on generated tasks: a row per task, a column per model, in each cell the primary metric over seeds."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from rich.markup import escape

from lmlab.analysis.options import assigned, varied
from lmlab.analysis.records import Record, together
from lmlab.commands.tables import print_table, say
from lmlab.metrics import Measures, score_of, split_of
from lmlab.runs.run import Run

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
