"""``lmlab report``: from runs to a conclusion, with everything that it rests on, in one folder."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.reading import read_curves
from lmlab.analysis.report import folder as report
from lmlab.analysis.report.document import Document
from lmlab.analysis.selection import select
from lmlab.commands import tables
from lmlab.config import Paths
from lmlab.surroundings import expanded


def task(
    paths: Paths,
    runs: str | list[str] | None,
    tag: str | None,
    where: dict[str, Any],
    arm: str | list[str] | None,
    metric: str | None,
    baseline: str | None,
    output: str | None,
) -> None:
    """Write the report and print its conclusion; exit code 1 if the runs do not compare."""
    report.check_packages()
    from lmlab.analysis.arms import compare_by

    records = select(paths, runs, tag, where)
    comparison = compare_by(records.found, _several(arm), metric, baseline)
    folder = expanded(output) if output else Path(paths["outputs"]) / "reports" / report.name_of(comparison)
    command = shlex.join(["lmlab", "report", *sys.argv[1:]])
    if write_report(comparison, records.unreadable, folder, command).refused:
        sys.exit(1)


def write_report(
    comparison: Comparison, unreadable: Mapping[Path, str], folder: Path, command: str | None = None
) -> Document:
    """Write a report as :func:`lmlab.analysis.report.folder.write` does, and print its conclusion."""
    read_curves(comparison.runs, shown=True)
    with tables.progress_console.status("Writing the report"):
        document = report.write(comparison, unreadable, folder, command)
    tables.say(f"\n{document.conclusion}")
    for doubt in document.doubts:
        tables.say(doubt, "but:", "yellow")
    missing = len(comparison.left_out) + len(unreadable)
    if missing:
        tables.say(f"{missing} without a part in this; the report says why", "left out:", "yellow")
    page = folder / report.PAGE
    others = "report.md, report.tex, tables/*.tex, figures/*.svg and *.pdf beside it"
    tables.say(f"\nThe report: {tables.place(page)}   ({others})")
    tables.say(f"Next: {'   '.join(_next(comparison))}")
    return document


def _next(comparison: Comparison) -> list[str]:
    commands = [tables.command("dashboard")]
    datasets = sorted({name for run in comparison.runs if (name := run.choice("data"))})
    if len(datasets) > 1:
        commands.insert(0, tables.command("report", f"+where.data={datasets[0]}"))
    if comparison.runs:
        commands.append(tables.command("reproduce", f"run={comparison.runs[0].short_id}"))
    return commands


def _several(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(one) for one in value]
