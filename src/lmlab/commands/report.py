"""``lmlab report``: draw a conclusion from runs, and write it with the data behind it to one folder."""

import shlex
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmlab.analysis.commands import report_with
from lmlab.analysis.comparison import Comparison, can_be_scored, comparison_of, evaluate_command
from lmlab.analysis.doubts.data import one_data
from lmlab.analysis.report import folder as report
from lmlab.analysis.report.document import Document
from lmlab.analysis.selection import select
from lmlab.commands import tables
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.errors import UserError
from lmlab.metrics import split_of
from lmlab.progress import ProgressBar
from lmlab.surroundings import expanded
from lmlab.sweeps.study import trials_of_all
from lmlab.sweeps.sweep import Sweep, find_sweep


def main(
    paths: Paths,
    runs: str | list[str] | None,
    tag: str | None,
    where: dict[str, Any],
    arm: str | list[str] | None,
    metric: str | None,
    direction: str | None,
    baseline: str | None,
    output: str | None,
    formats: str | list[str],
    open: bool,
) -> None:
    """Write the report and print its conclusion; exit with code 1 if the runs cannot be compared."""
    report.check_formats(_several(formats))
    if open and "html" not in _several(formats):
        raise UserError("open=true: opens the page, which formats= leaves out (add html)")
    if output and expanded(output).exists() and not expanded(output).is_dir():
        raise UserError(f"output={output}: is a file, expected a folder")
    from lmlab.analysis.comparison import compare_by

    folders = Folders.of(paths)
    records = select(folders, runs, tag, where)
    sweep = None if tag or where or arm else _study_sweep(folders, runs)
    if sweep is not None:  # the arms and settings of lmlab study
        comparison = comparison_of(sweep, folders.cache, folders.runs, metric, baseline, direction)
    else:
        trials = trials_of_all(folders.sweeps)
        comparison = compare_by(records.readable, _several(arm), metric, baseline, direction, trials)
    unscored = _unscored(comparison)
    if unscored and not comparison.arms:
        raise UserError(f"metric={metric}: no run has it yet; score the runs first: {unscored}")
    if comparison.measures.metric(comparison.metric) is None:
        other = "" if direction else " (direction=maximize where more is better)"
        tables.say(f"{'minimized' if comparison.minimizes else 'maximized'}{other}", f"{comparison.metric}:")
    folder = expanded(output) if output else folders.reports / report.name_of(comparison)
    command = shlex.join(["lmlab", "report", *sys.argv[1:]])
    document = write_report(comparison, records.unreadable, folder, command, _several(formats))
    if unscored:
        tables.say(unscored, f"Some have no {comparison.metric} yet:", "yellow")
    if open:
        webbrowser.open((folder / report.PAGE).absolute().as_uri())
    if document.refused:
        sys.exit(1)


def _study_sweep(folders: Folders, runs: str | list[str] | None) -> Sweep | None:
    """Return the sweep of a study if ``runs`` names nothing else; otherwise ``None``."""
    names = _several(runs)
    if len(names) != 1:
        return None
    try:
        sweep = find_sweep(names[0], folders.sweeps)
    except UserError:
        return None
    return sweep if sweep.definition.get("study") is not None else None


def write_report(
    comparison: Comparison,
    unreadable: Mapping[Path, str],
    folder: Path,
    command: str | None = None,
    formats: Sequence[str] = ("html",),
) -> Document:
    """Write a report as :func:`lmlab.analysis.report.folder.write` does, and print its conclusion.

    Args:
        command: the command as typed; ``None``: ``lmlab report`` of the sweep with the name of the folder.
    """
    again = command or tables.command("report", f"runs={folder.name}")
    comparison = replace(comparison, command=shlex.split(again))
    with ProgressBar("Reading the curves", len(comparison.runs), shown=True, unit="runs") as bar:
        for record in comparison.runs:
            record.log.read()
            bar.advance(1)
    with tables.progress_console.status("Writing the report"):
        document = report.write(comparison, unreadable, folder, command, formats)
    tables.say(f"\n{document.conclusion}")
    for doubt in document.doubts or ():
        tables.say(doubt.text, "but:", "yellow")
        for one in doubt.commands:
            tables.say(f"  {one}")
    missing = len(comparison.left_out) + len(unreadable)
    if missing:
        tables.say(f"{missing} not part of the comparison; the report gives the reasons", "left out:", "yellow")
    files = ", ".join(dict.fromkeys(report.FORMATS[name] for name in formats if name != "html"))
    if "html" in formats:
        others = f"{files} beside it" if files else f"others: {again} formats=html,markdown,latex,png"
        tables.say(f"\nThe report: {tables.place(folder / report.PAGE)}   ({others})")
    else:
        tables.say(f"\nThe report: {files} in {tables.place(folder)}")
    tables.say(f"Next: {'   '.join(_next(comparison))}")
    return document


def _unscored(comparison: Comparison) -> str | None:
    """Return the command that scores the runs that were left out because they lack a score; ``None`` if none were."""
    lacking = [left.record for left in comparison.left_out if left.record and not left.is_trial]
    lacking = [record for record in lacking if can_be_scored(record, comparison.metric)]
    return evaluate_command(lacking, split_of(comparison.metric)) if lacking else None


def _next(comparison: Comparison) -> list[str]:
    commands = [tables.command("dashboard")]
    if (of_one_data := one_data(comparison)) is not None:
        commands.insert(0, report_with(comparison, of_one_data))
    if comparison.runs:
        commands.append(tables.command("reproduce", f"run={comparison.runs[0].reference}"))
    return commands


def _several(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(one) for one in value]
