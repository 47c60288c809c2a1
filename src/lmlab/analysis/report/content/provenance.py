"""The runs of a report: scores and costs of each, chains, origin, commands, and those left out."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmlab.analysis.commands import command_of
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.options import text_of, varied
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.arms import COSTS
from lmlab.analysis.report.content.captions import data_of, of_runs
from lmlab.analysis.report.document import Cell, Code, Column, Part, Section, Table, Text
from lmlab.config.nodes import at
from lmlab.runs.files import dumps
from lmlab.runs.start import chain_of

_FACTS = {
    "code": "provenance.code",
    "git commit": "provenance.git.commit",
    "uncommitted changes": "provenance.git.dirty",
    "Python": "provenance.python",
    "platform": "provenance.platform",
    "processor": "provenance.hardware.processor",
    "GPUs": "provenance.hardware.gpus",
    "device": "timings.device",
    "compiled": "training.compiled",
    "data": "data.name",
    "licence of the data": "data.licence",
    "fingerprint of the data": "data.fingerprint",
    "fingerprint of the corpus": "data.corpus_fingerprint",
    "fingerprint of the tokenizer": "data.tokenizer_fingerprint",
}


def provenance(comparison: Comparison) -> Section | None:
    """List every recorded property that could explain a different result, with the number of runs that have it."""
    runs = comparison.runs
    counts = Counter(fact for run in runs for fact in _facts(run))
    if not counts:
        return None
    order = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in counts))}
    rows: list[list[Cell]] = [
        [name, value, n] for (name, value), n in sorted(counts.items(), key=lambda pair: order[pair[0][0]])
    ]
    note = f"Of the {len(runs)} runs that the conclusion rests on. Fingerprints are the start of a SHA-256 hash."
    columns = [Column("property"), Column("value"), Column("runs")]
    return Section(
        "Provenance",
        [Table("provenance", f"Origin of the results: runs on {of_runs(comparison)}", columns, rows, note)],
    )


def _facts(run: Record) -> Iterator[tuple[str, str]]:
    for name, path in _FACTS.items():
        if (value := at(run.manifest, path)) is not None:
            yield name, _written(name, value)
    for package, version in (at(run.manifest, "provenance.packages") or {}).items():
        if version is not None:
            yield package, str(version)


def _written(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else dumps(value)
    return text[:16] if name.startswith("fingerprint") or name == "git commit" else text


def left_out(comparison: Comparison, unreadable: Mapping[Path, str]) -> Section | None:
    """List runs that were selected but cannot be averaged, and unreadable directories, each with the reason."""
    rows = [[left.run, left.arm, left.why] for left in comparison.left_out]
    rows += [[path.name, None, why] for path, why in unreadable.items()]
    if not rows:
        return None
    columns = [Column("run"), Column("arm"), Column("why")]
    return Section("Left out", [Table("left-out", "Runs left out of this report", columns, rows)])


COMMANDS_SHOWN = 40
"""Maximum number of listed commands; scripts may have started each run with a command of its own."""


def commands(comparison: Comparison, report: str | None = None) -> Section | None:
    """List the commands that started the runs, that reproduce one run of each arm, and that asked for the report.

    Args:
        report: the command, as typed.
    """
    if not comparison.runs:
        return None
    every = comparison.all_runs
    started_by = Counter(command for run in every if (command := command_of(run)))
    parts: list[Part] = []
    if started_by:
        parts.append(Text("Commands that started these runs; finished runs are not computed again:"))
        parts.append(Code("\n".join(list(started_by)[:COMMANDS_SHOWN])))
    if len(started_by) > COMMANDS_SHOWN:
        parts.append(Text(f"And {len(started_by) - COMMANDS_SHOWN} more, each recorded in the run.json of its runs."))
    firsts = [arm.runs[0] for arm in comparison.arms][:COMMANDS_SHOWN]
    parts.append(
        Text("Commands that recompute the first seed of each arm from its saved configuration and compare the results:")
    )
    parts.append(Code("\n".join(f"lmlab reproduce {shlex.quote(f'run={run.reference}')}" for run in firsts)))
    if report:
        parts += [Text("The command of this report:"), Code(report)]
    return Section("Reproducing it", parts)


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
    first = (comparison.metric, comparison.selection_metric)
    metrics = list(dict.fromkeys([*first, *(name for name in comparison.measures.everything if name in recorded)]))
    rows: list[list[Cell]] = []
    for arm, setting in settings:
        in_conclusion = "yes" if setting is arm.representative else "no"
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
