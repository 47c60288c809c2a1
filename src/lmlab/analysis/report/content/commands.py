"""The commands that reproduce a comparison."""

import shlex
from collections import Counter

from lmlab.analysis.commands import asked_by
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.report.document import Code, Part, Section, Text

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
