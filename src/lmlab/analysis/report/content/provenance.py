"""Origin of the results: code, packages, hardware, data and commands; and the runs that were left out."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmlab.analysis.commands import asked_by
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_runs
from lmlab.analysis.report.document import Cell, Code, Column, Part, Section, Table, Text
from lmlab.runs.files import dumps

_FACTS = {
    "code": ("provenance", "code"),
    "git commit": ("provenance", "git", "commit"),
    "uncommitted changes": ("provenance", "git", "dirty"),
    "Python": ("provenance", "python"),
    "platform": ("provenance", "platform"),
    "processor": ("provenance", "hardware", "processor"),
    "GPUs": ("provenance", "hardware", "gpus"),
    "device": ("timings", "device"),
    "compiled": ("training", "compiled"),
    "data": ("data", "name"),
    "licence of the data": ("data", "licence"),
    "fingerprint of the data": ("data", "fingerprint"),
    "fingerprint of the corpus": ("data", "corpus_fingerprint"),
    "fingerprint of the tokenizer": ("data", "tokenizer_fingerprint"),
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
        node: Any = run.manifest
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            yield name, _written(name, node)
    for package, version in run.manifest.get("provenance", {}).get("packages", {}).items():
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
    every = [run for arm in comparison.arms for setting in arm.settings for run in setting.runs]
    started_by = Counter(command for run in every if (command := asked_by(run)))
    parts: list[Part] = []
    if started_by:
        parts.append(Text("Commands that started these runs; finished runs are not computed again:"))
        parts.append(Code("\n".join(list(started_by)[:COMMANDS_SHOWN])))
    if len(started_by) > COMMANDS_SHOWN:
        parts.append(Text(f"And {len(started_by) - COMMANDS_SHOWN} more, each recorded in the run.json of its runs."))
    firsts = [arm.chosen.runs[0] for arm in comparison.arms][:COMMANDS_SHOWN]
    parts.append(
        Text("Commands that recompute the first seed of each arm from its saved configuration and compare the results:")
    )
    parts.append(Code("\n".join(f"lmlab reproduce {shlex.quote(f'run={run.reference}')}" for run in firsts)))
    if report:
        parts += [Text("The command of this report:"), Code(report)]
    return Section("Reproducing it", parts)
