"""Scores of the arms on every task that they were trained on, beside those of trivial baselines."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.content.results import NOTE, interval
from lmlab.analysis.report.document import Cell, Column, Interval, Part, Section, Table, Text
from lmlab.analysis.statistics.intervals import mean_interval
from lmlab.analysis.tasks import Trivial, leading, mean_of


def tasks(comparison: Comparison) -> Section | None:
    """Show the first metric of each task for every arm, and those of baselines that need no model."""
    runs = comparison.runs
    metrics, trivial = leading(runs) if runs else [], Trivial.of(runs) if runs else None
    if trivial is None or not any(trivial.best(metric) for metric in metrics):
        return None
    columns = [Column("arm"), Column("runs")]
    for metric in metrics:
        one = trivial.measures.metric(metric)
        heading = trivial.measures.headings()[metric]
        columns.append(Column(heading, one.unit, one.form, one.better) if one else Column(heading))
    rows: list[list[Cell | Interval]] = []
    means = {}
    for arm in comparison.arms:
        values = {metric: [float(run.metric(metric) or 0.0) for run in arm.runs] for metric in metrics}
        means[arm.name] = {metric: mean_of(own) for metric, own in values.items()}
        rows.append([arm.name, len(arm.runs), *(interval(mean_interval(values[metric])) for metric in metrics)])
    rows += [[name, None, *(trivial.scores[name].get(metric) for metric in metrics)] for name in trivial.names(metrics)]
    note = (
        f"{NOTE} Below the arms: answers and predictions that need no model, scored on the same examples. An arm beats "
        "them on a task if its whole interval is better than the best of them."
    )
    parts: list[Part] = [Table("tasks", "Scores on each task, and trivial baselines", columns, rows, note)]
    parts += [Text(f"{line}.") for line in trivial.summary(means)]
    return Section("Tasks", parts)
