"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

from pathlib import Path
from typing import Any, Literal, get_args

from rich.markup import escape

from lmlab.analysis.options import at
from lmlab.analysis.selection import fits, named
from lmlab.commands import results, tables
from lmlab.config import Paths
from lmlab.errors import UserError, nearest
from lmlab.runs.files import dumps
from lmlab.runs.run import Status

STATUSES = get_args(Status)
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
    format: Literal["table", "json"],
) -> None:
    """Print the runs that fit, in the order asked for."""
    if status not in (None, *STATUSES):
        raise UserError(f"status={status}: unknown{nearest(status, STATUSES)}")
    records = named(paths, runs)
    for error in records.unreadable.values():
        tables.say(error, "left out:", "yellow")
    rows = [
        results.summary(record) | {"config": record.config}
        for record in records.found
        if (name is None or name in record.manifest["name"])
        and status in (None, record.status)
        and fits(record, tag, where)
    ]
    rows = ordered(rows, sort, descending)[:limit]
    if format == "json":
        print(dumps(rows, indent=2))
    else:
        show(rows, Path(paths["runs"]))


def ordered(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    """Sort by a column or a dotted configuration key; rows without a value come last."""

    def value(row: dict[str, Any]) -> Any:
        return row[key] if key in row else at(row["config"], key)

    known = {column for row in rows for column in row if column != "config"}

    def has_value(row: dict[str, Any]) -> bool:
        return value(row) is not None and value(row) == value(row)  # nan equals nothing

    with_value = [row for row in rows if has_value(row)]
    if rows and not with_value and key not in known:
        raise UserError(f"sort={key}: neither a column nor a configuration key of these runs{nearest(key, known)}")
    without = [row for row in rows if not has_value(row)]
    try:
        return sorted(with_value, key=value, reverse=descending) + without
    except TypeError:
        return sorted(with_value, key=lambda row: str(value(row)), reverse=descending) + without


def show(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the table."""
    if not rows:
        tables.say(f"No runs fit in {folder}. A first one: lmlab train model=lstm budget.tokens=200_000")
        return
    table = [
        {
            "id": row["id"],
            "name": escape(row["name"]),
            "status": f"[{STYLE[row['status']]}]{row['status']}[/]",
            "seed": str(row["seed"]),
            **results.cells(row),
            "created": row["created"][:16].replace("T", " "),
        }
        for row in rows
    ]
    optional = ["loss (nats/token)", "tokens", "created", "seconds", "tokens/s", "seed", "utilisation"][::-1]
    tables.print_table(f"{len(rows)} runs in {folder}", table, optional)
