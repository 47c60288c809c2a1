"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.markup import escape

from lmlab.analysis.records import Record, together
from lmlab.analysis.selection import check_status, fits, named
from lmlab.commands import results, tables
from lmlab.config import Paths, at
from lmlab.errors import UserError, nearest
from lmlab.metrics import VALIDATION, Measures
from lmlab.numerals import counted
from lmlab.runs.files import dumps

SECTIONS = ("metrics", "measures", "config")
"""What a row has of a run beside the columns of the table."""

STYLE = {
    "finished": "green",
    "failed": "red",
    "interrupted": "yellow",
    "pruned": "magenta",
    "running": "cyan",
    "created": "dim",
}


def task(
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
    """Print the runs that fit, in the order asked for."""
    rows, fitting, unreadable = _fitting(paths, runs, name, status, tag, where, sort, descending, limit)
    for error in unreadable:
        tables.warn(error, "left out:")
    match format:
        case "table":
            show([fitting[row["path"]] for row in rows], Path(paths["runs"]), sort)
        case "json":
            print(dumps(rows, indent=2))
        case "csv":
            write_csv(rows, sys.stdout)
        case "paths":
            print(*(row["path"] for row in rows), sep="\n", end="\n" if rows else "")


def listed(
    paths: Paths,
    runs: str | list[str] | None,
    name: str | None,
    status: str | None,
    tag: str | None,
    where: Mapping[str, Any],
    sort: str,
    descending: bool | None,
    limit: int | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each run that fits, and what is wrong with directories that cannot be read, a line each.

    A row is the columns of the table in full, with all metrics and the configuration.

    Raises:
        UserError: an option is wrong, or nothing fits one of ``runs``.
    """
    rows, _, unreadable = _fitting(paths, runs, name, status, tag, where, sort, descending, limit)
    return rows, unreadable


def _fitting(
    paths: Paths,
    runs: str | list[str] | None,
    name: str | None,
    status: str | None,
    tag: str | None,
    where: Mapping[str, Any],
    sort: str,
    descending: bool | None,
    limit: int | None,
) -> tuple[list[dict[str, Any]], dict[str, Record], list[str]]:
    """Return what :func:`listed` does, and the records of the rows by path."""
    check_status(status)
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit}: expected at least 1, or null for all")
    records = named(paths, runs)
    fitting = {str(record.run.path): record for record in records.found if fits(record, tag, where, name, status)}
    names = results.measured(fitting.values())
    rows = [
        results.summary(record, names)
        | {"metrics": record.scores, "measures": record.measures.to_record(), "config": record.config}
        for record in fitting.values()
    ]
    rows = ordered(rows, sort, has_best_last(rows, sort) if descending is None else descending)[:limit]
    return rows, fitting, list(records.unreadable.values())


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
        found = value(row)
        return found is not None and not (isinstance(found, float) and not math.isfinite(found))

    with_value = [row for row in rows if has_value(row)]
    if rows and not with_value and key not in columns:
        raise UserError(f"sort={key}: no column, metric or configuration key of these runs{nearest(key, columns)}")
    without = [row for row in rows if not has_value(row)]
    try:
        return sorted(with_value, key=value, reverse=descending) + without
    except TypeError:
        return sorted(with_value, key=lambda row: str(value(row)), reverse=descending) + without


def has_best_last(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Return whether ``key`` is a metric of which more is better."""
    for row in rows:
        measures = Measures.of(row["measures"])
        by_column = {results.column(name): name for name in [*measures.names(), *measures.shown, *row["metrics"]]}
        if (name := by_column.get(key) or metric_of(row["metrics"], key)) is not None:
            return measures.better(name) == "higher"
    return False


def metric_of(metrics: Mapping[str, Any], key: str) -> str | None:
    """The metric of a run that ``key`` means: its name, or its name without ``validation/``; ``None``: it has none."""
    return next((name for name in (key, f"{VALIDATION}/{key}") if name in metrics), None)


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as CSV: the columns of the table in full, and a column for each metric that a run has."""
    metrics = sorted({name for row in rows for name in row["metrics"]})
    columns = [key for key in (rows[0] if rows else ()) if key not in (*SECTIONS, "tags")]
    writer = csv.writer(file)
    writer.writerow([*columns, "tags", *metrics])
    for row in rows:
        measured = [row["metrics"].get(name) for name in metrics]
        writer.writerow([*(row[key] for key in columns), " ".join(row["tags"]), *measured])


def show(records: Sequence[Record], folder: Path, sort: str) -> None:
    """Print the table, with the metric that it is sorted by."""
    if not records:
        tables.say(f"No runs fit in {tables.place(folder)}. A first one: lmlab train model=lstm budget.tokens=200_000")
        return
    measures = together(records)
    sorted_by = next((name for record in records if (name := metric_of(record.scores, sort)) is not None), None)
    if sorted_by in results.headings(measures):
        sorted_by = None  # it is shown anyway
    table = [
        {
            "id": record.id,
            "name": escape(record.manifest["name"]),
            "status": f"[{STYLE[record.status]}]{record.status}[/]",
            "seed": str(record.seed),
            "stage": escape(record.manifest.get("stage") or ""),
            "begins with": (record.manifest.get("start") or {}).get("run", ""),
            **({sorted_by: measures.written(sorted_by, record.scores.get(sorted_by))} if sorted_by else {}),
            **results.cells(record, measures),
            "created": record.manifest.get("created", "")[:16].replace("T", " "),
        }
        for record in records
    ]
    less = results.optional([record.measures for record in records])
    optional = ["utilisation", "seed", "tokens/s", "seconds", "created", "tokens", *less]
    tables.print_table(f"{counted(len(records), 'run')} in {folder}", table, optional)
