"""``lmlab runs``: a filtered and sorted table of the runs in the outputs folder."""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.markup import escape

from lmlab.analysis.records import Record, together
from lmlab.analysis.selection import check_status, fits, fitting, named
from lmlab.analysis.tasks import have_tasks
from lmlab.commands import results, tables
from lmlab.commands.by_arm import show_by_arm
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths, at
from lmlab.errors import UserError, nearest
from lmlab.metrics import VALIDATION, Measures
from lmlab.numerals import counted
from lmlab.runs.files import dumps

SECTIONS = ("metrics", "measures", "config")
"""Keys of a row that are no columns of the table."""

STYLE = {
    "finished": "green",
    "failed": "red",
    "interrupted": "yellow",
    "pruned": "magenta",
    "running": "cyan",
    "created": "dim",
}


def main(
    paths: Paths,
    runs: str | list[str] | None,
    name: str | None,
    status: str | None,
    tag: str | None,
    where: dict[str, Any],
    sort: str,
    descending: bool | None,
    limit: int | None,
    format: Literal["table", "json", "csv", "paths"],
) -> None:
    """Print the selected runs in the requested order.

    Raises:
        UserError: an option is wrong; for a table, also a tag or an option's value that no run has.
    """
    folders = Folders.of(paths)
    rows, records, unreadable = listed(folders, runs, name, status, tag, where, sort, descending, limit)
    for error in unreadable:
        tables.warn(error, "left out:")
    match format:
        case "table":
            if not rows and (every := named(folders, runs).readable):
                fitting(every, tag, where)  # says which option or tag no run has
            show([records[row["path"]] for row in rows], folders.runs, sort, name or status)
        case "json":
            print(dumps(rows, indent=2))
        case "csv":
            write_csv(rows, sys.stdout)
        case "paths":
            print(*(row["path"] for row in rows), sep="\n", end="\n" if rows else "")


def listed(
    folders: Folders,
    runs: str | list[str] | None,
    name: str | None,
    status: str | None,
    tag: str | None,
    where: Mapping[str, Any],
    sort: str,
    descending: bool | None,
    limit: int | None,
) -> tuple[list[dict[str, Any]], dict[str, Record], list[str]]:
    """Return a row for each selected run, the records by path, and a line for each directory that cannot be read.

    A row has all columns of the table, all metrics and the configuration. The records include those beyond ``limit``.

    Raises:
        UserError: an option is wrong, or one of ``runs`` matches no run.
    """
    check_status(status)
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit}: expected at least 1, or null for all")
    named_records = named(folders, runs)
    records = {
        str(record.run.path): record for record in named_records.readable if fits(record, tag, where, name, status)
    }
    names = results.measured(records.values())
    rows = [
        results.summary(record, names)
        | {"metrics": record.scores, "measures": record.measures.to_record(), "config": record.config}
        for record in records.values()
    ]
    rows = ordered(rows, sort, has_best_last(rows, sort) if descending is None else descending)[:limit]
    return rows, records, list(named_records.unreadable.values())


def ordered(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    """Sort by a column, a metric (``test/loss``; ``mine`` of ``validation/mine``) or a dotted configuration key.

    Rows without a value, or with a number that is not finite, come last.
    """

    def value(row: dict[str, Any]) -> Any:
        if key in row and key not in SECTIONS:
            return row[key]
        if (metric := metric_of(row["metrics"], key)) is not None:
            return row["metrics"][metric]
        return at(row["config"], key)

    columns = {column for row in rows for column in row if column not in SECTIONS}
    columns |= {metric for row in rows for metric in row["metrics"]}

    def has_value(row: dict[str, Any]) -> bool:
        cell = value(row)
        return cell is not None and not (isinstance(cell, float) and not math.isfinite(cell))

    with_value = [row for row in rows if has_value(row)]
    if rows and not with_value and key not in columns:
        raise UserError(f"sort={key}: no column, metric or configuration key of these runs{nearest(key, columns)}")
    without = [row for row in rows if not has_value(row)]
    try:
        return sorted(with_value, key=value, reverse=descending) + without
    except TypeError:
        return sorted(with_value, key=lambda row: str(value(row)), reverse=descending) + without


def has_best_last(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Return whether ``key`` is a metric for which more is better."""
    for row in rows:
        measures = Measures.of(row["measures"])
        by_column = {results.column(name): name for name in [*measures.names(), *measures.shown, *row["metrics"]]}
        if (name := by_column.get(key) or metric_of(row["metrics"], key)) is not None:
            return measures.better(name) == "higher"
    return False


def metric_of(metrics: Mapping[str, Any], key: str) -> str | None:
    """Return a run's metric with the name ``key``, with or without ``validation/``; ``None`` if it has none."""
    return next((name for name in (key, f"{VALIDATION}/{key}") if name in metrics), None)


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as CSV: all columns of the table, and a column for each metric of any run."""
    metrics = sorted({name for row in rows for name in row["metrics"]})
    columns = [key for key in (rows[0] if rows else ()) if key not in (*SECTIONS, "tags")]
    writer = csv.writer(file)
    writer.writerow([*columns, "tags", *metrics])
    for row in rows:
        measured = [row["metrics"].get(name) for name in metrics]
        writer.writerow([*(row[key] for key in columns), " ".join(row["tags"]), *measured])


def show(records: Sequence[Record], folder: Path, sort: str, wanted: str | None = None) -> None:
    """Print the table, with the metric by which it is sorted.

    Args:
        wanted: the name or status that was asked for, if any.
    """
    if not records:
        first = "" if wanted else " A first one: lmlab train model=lstm budget.tokens=200_000"
        tables.say(f"No runs {f'fit {wanted}' if wanted else 'are'} in {tables.place(folder)}.{first}")
        return
    measures = together(records)
    sorted_by = next((name for record in records if (name := metric_of(record.scores, sort)) is not None), None)
    if sorted_by in results.headings(measures):
        sorted_by = None  # the table has this column already
    table = [
        {
            "id": record.id,
            "name": escape(record.manifest["name"]),
            "status": f"[{STYLE[record.status]}]{record.status}[/]",
            "seed": str(record.seed),
            "stage": escape(record.manifest.get("stage") or ""),
            "begins with": at(record.manifest, "start.run") or "",
            **({sorted_by: measures.written(sorted_by, record.scores.get(sorted_by))} if sorted_by else {}),
            **results.cells(record, measures),
            "created": record.manifest.get("created", "")[:16].replace("T", " "),
        }
        for record in records
    ]
    less = results.optional([record.measures for record in records])
    optional = ["utilisation", "seed", "tokens/s", "seconds", "created", "tokens", *less]
    tables.print_table(f"{counted(len(records), 'run')} in {folder}", table, optional)
    finished = [record for record in records if record.status == "finished"]
    if have_tasks(finished):
        tables.console.print()
        show_by_arm(finished, "the validation split")
