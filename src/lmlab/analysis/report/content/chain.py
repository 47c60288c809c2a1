"""Runs that continue other runs: the chain, and the training along it."""

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_runs
from lmlab.analysis.report.document import Cell, Column, Section, Table
from lmlab.runs.start import chain_of


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
