"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.markup import escape

from lmlab.analysis.selection import check_status, fits, named
from lmlab.commands import results, tables
from lmlab.config import Paths, at
from lmlab.errors import UserError, nearest
from lmlab.numerals import counted
from lmlab.runs.files import dumps
from lmlab.runs.metrics import VALIDATION

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
    descending: bool,
    limit: int | None,
    format: Literal["table", "json", "csv", "paths"],
) -> None:
    """Print the runs that fit, in the order asked for."""
    rows, unreadable = listed(paths, runs, name, status, tag, where, sort, descending, limit)
    for error in unreadable:
        tables.warn(error, "left out:")
    match format:
        case "table":
            show(rows, Path(paths["runs"]), sort)
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
    descending: bool,
    limit: int | None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each run that fits, and what is wrong with directories that cannot be read, a line each.

    A row is the columns of the table in full, with all metrics and the configuration.

    Raises:
        UserError: an option is wrong, or nothing fits one of ``runs``.
    """
    check_status(status)
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit}: expected at least 1, or null for all")
    records = named(paths, runs)
    rows = [
        results.summary(record) | {"metrics": record.scores, "config": record.config}
        for record in records.found
        if fits(record, tag, where, name, status)
    ]
    return ordered(rows, sort, descending)[:limit], list(records.unreadable.values())


def ordered(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    """Sort by a column, a metric (``test/loss``; ``mine`` of ``validation/mine``) or a dotted configuration key.

    Rows without a value come last.
    """

    def value(row: dict[str, Any]) -> Any:
        if key in row and key not in ("metrics", "config"):
            return row[key]
        if (metric := metric_of(row, key)) is not None:
            return row["metrics"][metric]
        return at(row["config"], key)

    columns = {column for row in rows for column in row if column not in ("metrics", "config")}
    columns |= {metric for row in rows for metric in row["metrics"]}

    def has_value(row: dict[str, Any]) -> bool:
        return value(row) is not None and value(row) == value(row)  # nan equals nothing

    with_value = [row for row in rows if has_value(row)]
    if rows and not with_value and key not in columns:
        raise UserError(f"sort={key}: no column, metric or configuration key of these runs{nearest(key, columns)}")
    without = [row for row in rows if not has_value(row)]
    try:
        return sorted(with_value, key=value, reverse=descending) + without
    except TypeError:
        return sorted(with_value, key=lambda row: str(value(row)), reverse=descending) + without


def metric_of(row: dict[str, Any], key: str) -> str | None:
    """The metric of a row that ``key`` means: its name, or its name without ``validation/``; ``None``: it has none."""
    names = (key, f"{VALIDATION}/{key}")
    return next((name for name in names if name in row["metrics"]), None)


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as CSV: the columns of the table in full, and a column for each metric that a run has."""
    metrics = sorted({name for row in rows for name in row["metrics"]})
    columns = [key for key in (rows[0] if rows else ()) if key not in ("metrics", "config", "tags")]
    writer = csv.writer(file)
    writer.writerow([*columns, "tags", *metrics])
    for row in rows:
        measured = [row["metrics"].get(name) for name in metrics]
        writer.writerow([*(row[key] for key in columns), " ".join(row["tags"]), *measured])


def show(rows: list[dict[str, Any]], folder: Path, sort: str) -> None:
    """Print the table, with the metric that it is sorted by."""
    if not rows:
        tables.say(f"No runs fit in {tables.place(folder)}. A first one: lmlab train model=lstm budget.tokens=200_000")
        return
    table = [
        {
            "id": row["id"],
            "name": escape(row["name"]),
            "status": f"[{STYLE[row['status']]}]{row['status']}[/]",
            "seed": str(row["seed"]),
            "stage": escape(row["stage"] or ""),
            "begins with": row["start"] or "",
            **_sorted_by(row, sort, rows),
            **results.cells(row),
            "created": row["created"][:16].replace("T", " "),
        }
        for row in rows
    ]
    optional = ["loss (nats/token)", "tokens", "created", "seconds", "tokens/s", "seed", "utilisation"][::-1]
    tables.print_table(f"{counted(len(rows), 'run')} in {folder}", table, optional)


def _sorted_by(row: dict[str, Any], sort: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The cell of the metric that a table is sorted by, where its columns do not show it anyway."""
    metrics = {metric for other in rows if (metric := metric_of(other, sort)) is not None}
    if sort in row or not metrics or metrics <= {"validation/bits_per_byte", "validation/loss"}:
        return {}
    metric = min(metrics)
    value = row["metrics"].get(metric)
    return {metric: "" if value is None else f"{value:.4f}"}
