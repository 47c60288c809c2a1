"""A sweep's results by arm, and as a grid of tasks and models: means over the seeds."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rich.markup import escape

from lmlab.analysis.options import assigned, text_of, varied
from lmlab.analysis.records import Record, together
from lmlab.analysis.tasks import Mean, Trivial, have_tasks, leading, mean_of
from lmlab.commands.tables import console, print_table, say
from lmlab.metrics import Measures, cost, score_of, split_of
from lmlab.runs.run import Run


def show_by_arm(records: Sequence[Record], where: str) -> bool:
    """Print a row for each arm, best first, and for each trivial baseline; return whether the table was printed.

    Arms are compared by the first metric of each scored split that tables show and all runs have. The 95 % interval of
    the mean is shown for arms with several runs. There is no table if no arm has any, unless several splits with
    baselines are scored.

    Args:
        where: what the runs were scored on, for the title.
    """
    metrics, trivial = leading(records), Trivial.of(records)
    keys = varied(records)
    arms: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        arms[tuple(text_of(record, key) for key in keys)].append(record)
    if not metrics or (len(arms) == len(records) and not have_tasks(records)):
        return False
    means = {
        arm: {metric: mean_of([float(one.metric(metric) or 0.0) for one in own]) for metric in metrics}
        for arm, own in arms.items()
    }
    measures = trivial.measures
    first, better = metrics[0], measures.better(metrics[0])
    headings = [*keys] or ["arm"]
    rows = []
    for arm, own in sorted(means.items(), key=lambda item: cost(item[1][first].value, better)):
        options = dict(zip(headings, map(escape, arm or (arms[arm][0].manifest["name"],)), strict=True))
        beaten = [metric for metric in metrics if trivial.beaten(metric, own[metric])]
        rows.append({**options, **_cells(own, measures, beaten), "n": str(own[first].n)})
    for name in trivial.names(metrics):
        values = {metric: trivial.mean(name, metric) for metric in metrics}
        rows.append(dict.fromkeys(rows[0], "") | {headings[0]: name} | _cells(values, measures))
    say("", f"Results by arm on {where}, the mean of n runs, best first")
    print_table("", rows)
    if trivial.names(metrics):
        several = ", with the whole interval" if len(arms) < len(records) else ""
        say(f": better than every trivial baseline{several}", "*")
        for line in trivial.summary({" ".join(arm) or rows[0][headings[0]]: own for arm, own in means.items()}):
            say(line)
    console.print()
    return True


def _cells(means: Mapping[str, Mean], measures: Measures, beaten: Sequence[str] = ()) -> dict[str, str]:
    """Return the cells of means by metric: of a single one with its interval, of several with half of it.

    Args:
        beaten: the metrics that are marked.
    """
    cells = {}
    headings = measures.headings()
    for metric, mean in means.items():
        mark = " *" * (metric in beaten)
        value = "" if math.isnan(mean.value) and not mean.n else measures.written(metric, mean.value)
        if len(means) == 1:
            low, high = (measures.written(metric, bound) for bound in (mean.low, mean.high))
            bounds = "" if math.isnan(mean.low) else f"{low} to {high}"
            return {measures.label(metric): f"{value}{mark}", "95 % interval": bounds}
        half = "" if math.isnan(mean.low) else f" ± {measures.written(metric, (mean.high - mean.low) / 2)}"
        cells[headings[metric]] = f"{value}{half}{mark}"
    return cells


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
