"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

import json
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from rich.markup import escape

from lmlab.commands import results, tables
from lmlab.config import Paths
from lmlab.errors import UserError, nearest
from lmlab.runs.lookup import all_runs

STATUSES = ("created", "running", "finished", "failed", "interrupted")
STYLE = {"finished": "green", "failed": "red", "interrupted": "yellow", "running": "cyan", "created": "dim"}


def task(
    paths: Paths,
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
    folder = Path(paths["runs"])
    rows = []
    for run in all_runs(folder):
        try:
            row = results.summary(run) | {"config": run.config}
        except UserError as error:
            tables.say(str(error), "left out:", "yellow")
            continue
        fits = (
            (name is None or name in row["name"])
            and status in (None, row["status"])
            and (tag is None or tag in row["tags"])
            and contains(row["config"], where, run.manifest.get("choices", {}))
        )
        if fits:
            rows.append(row)
    rows = ordered(rows, sort, descending)[:limit]
    if format == "json":
        print(json.dumps(rows, indent=2))
    else:
        show(rows, folder)


def contains(config: dict[str, Any], where: dict[str, Any], choices: dict[str, str]) -> bool:
    """Whether every option in ``where`` has that value in ``config``; a group may be given by its option's name."""
    for key, value in where.items():
        found = config.get(key)
        if isinstance(value, dict):
            if not isinstance(found, dict) or not contains(found, value, {}):
                return False
        elif found != value and choices.get(key) != value:
            return False
    return True


def ordered(rows: list[dict[str, Any]], key: str, descending: bool) -> list[dict[str, Any]]:
    """Sort by a column or a dotted configuration key; rows without a value come last."""

    def value(row: dict[str, Any]) -> Any:
        return row[key] if key in row else OmegaConf.select(OmegaConf.create(row["config"]), key)

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
    optional = ["loss (nats/token)", "tokens", "created", "seconds", "tokens/s", "seed"][::-1]
    tables.print_table(f"{len(rows)} runs in {folder}", table, optional)
