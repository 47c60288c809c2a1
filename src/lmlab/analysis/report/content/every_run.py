"""Every run in one table, and the chains of runs that continue other runs."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.options import text_of, varied
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.arms import COSTS
from lmlab.analysis.report.content.captions import data_of, of_runs
from lmlab.analysis.report.document import Cell, Column, Section, Table
from lmlab.runs.start import chain_of

_COSTS = [cost for cost in COSTS if cost.column.heading in ("tokens", "training", "time", "peak memory")]


def every_run(comparison: Comparison) -> Section | None:
    """List the runs of all settings with the options varied within their arms, their scores and costs."""
    settings = [(arm, setting) for arm in comparison.arms for setting in arm.settings]
    if not settings:
        return None
    options = sorted(
        {option for arm in comparison.arms for option in varied([setting.runs[0] for setting in arm.settings])}
    )
    recorded = {name for _, setting in settings for run in setting.runs for name in run.scores}
    first = (comparison.metric, comparison.chosen_by)
    metrics = list(dict.fromkeys([*first, *(name for name in comparison.measures.everything if name in recorded)]))
    rows: list[list[Cell]] = []
    for arm, setting in settings:
        in_conclusion = "yes" if setting is arm.chosen else "no"
        values = [text_of(setting.runs[0], option) for option in options]
        for run in setting.runs:
            measured = [run.metric(metric) for metric in metrics] + [cost.of(run) for cost in _COSTS]
            rows.append([arm.name, run.label, run.seed, in_conclusion, *values, *measured])
    columns = [
        Column("arm"),
        Column("run"),
        Column("seed"),
        Column("in the conclusion"),
        *map(Column, options),
        *(Column(comparison.measures.heading(metric), form="{:.4f}") for metric in metrics),
        *(cost.column for cost in _COSTS),
    ]
    kept = [i for i, _ in enumerate(columns) if any(row[i] is not None for row in rows)]
    table = Table(
        "runs",
        f"Runs and their settings, on {data_of(comparison)}",
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        "The conclusion rests on the final runs of each arm, not on the trials that they were tuned with."
        if comparison.study is not None
        else "The conclusion rests on each arm's setting with the most seeds, of those the one with the best mean.",
    )
    return Section("Every run", [table])


def chain(comparison: Comparison) -> Section | None:
    """List the runs behind the conclusion that continue others, with tokens and FLOPs of the whole chain."""
    arms = {run: arm.name for arm in comparison.arms for setting in arm.settings for run in setting.runs}
    runs = [run for run in comparison.runs if run.manifest.get("start")]
    if not runs:
        return None
    columns = [
        Column("arm"),
        Column("run"),
        Column("chain"),
        Column("tokens before", form="{:,.0f}"),
        Column("own tokens", form="{:,.0f}"),
        Column("tokens in all", form="{:,.0f}"),
        Column("training in all", "FLOP", "{:.3e}"),
    ]
    rows = [[arms.get(run, ""), run.label, " > ".join(chain_of(run.run)), *_trained(run)] for run in runs]
    note = "Each run of a chain started from the weights of the run before it."
    return Section("Stages", [Table("chain", f"Runs that continue others: {of_runs(comparison)}", columns, rows, note)])


def _trained(run: Record) -> list[Cell]:
    """Return the tokens before the run, its own tokens and their sum, and the FLOPs of the whole chain."""
    start, tokens, flops = run.manifest["start"], run.metric("timings/tokens"), run.training_flops
    return [
        start["tokens"],
        tokens,
        None if tokens is None else start["tokens"] + tokens,
        None if flops is None else start["flops"] + flops,
    ]
