"""The commands that reproduce a comparison."""

import shlex
from collections import Counter
from functools import cache
from pathlib import Path

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.document import Code, Part, Section, Text
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Sweep

COMMANDS_SHOWN = 40
"""Commands that are listed; one run a command, as from a script, would make a page of them."""


def commands(comparison: Comparison, report: str | None = None) -> Section | None:
    """What asked for the runs, what computes one of each arm afresh and compares, and what asked for the report.

    Args:
        report: the command, as typed.
    """
    if not comparison.runs:
        return None
    every = [run for arm in comparison.arms for setting in arm.settings for run in setting.runs]
    asked = Counter(command for run in every if (command := asked_by(run)))
    parts: list[Part] = []
    if asked:
        parts.append(Text("What asked for these runs; what is finished is not computed again:"))
        parts.append(Code("\n".join(list(asked)[:COMMANDS_SHOWN])))
    if len(asked) > COMMANDS_SHOWN:
        parts.append(Text(f"And {len(asked) - COMMANDS_SHOWN} more, each recorded in the run.json of its runs."))
    firsts = [arm.chosen.runs[0] for arm in comparison.arms][:COMMANDS_SHOWN]
    parts.append(Text("The first seed of each arm, computed afresh from its saved configuration and compared:"))
    parts.append(Code("\n".join(f"lmlab reproduce {shlex.quote(f'run={run.reference}')}" for run in firsts)))
    if report:
        parts += [Text("This report, of what is there by then:"), Code(report)]
    return Section("Reproducing it", parts)


def asked_by(run: Record) -> str | None:
    """The command that asked for a run, as it would be typed: that of its sweep, or its own; ``None``: not recorded."""
    name = run.manifest.get("sweep")
    folder = run.run.path.absolute().parents[1] / "sweeps"
    if name and (command := _of_sweep(folder / str(name))):
        return command
    words = list((run.manifest.get("provenance") or {}).get("command", ()))[1:]
    return shlex.join(["lmlab", "train", *words[words[0] == "train" :]]) if words else None


@cache
def _of_sweep(folder: Path) -> str | None:
    try:
        return Sweep(folder).command
    except (UserError, OSError, KeyError):  # it was deleted, or these runs were moved
        return None
