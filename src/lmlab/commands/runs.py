"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from lmlab.commands import results
from lmlab.config import canonical
from lmlab.errors import UserError, nearest
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run

STATUSES = ("created", "running", "finished", "failed", "interrupted")
STYLE = {"finished": "green", "failed": "red", "interrupted": "yellow", "running": "cyan", "created": "dim"}


def task(composed: DictConfig) -> None:
    """Print the runs that fit, in the order asked for."""
    wanted = canonical(composed)
    if wanted["status"] not in (None, *STATUSES):
        raise UserError(f"status={wanted['status']}: unknown{nearest(wanted['status'], STATUSES)}")
    if wanted["format"] not in ("table", "json"):
        raise UserError(f"format={wanted['format']}: unknown{nearest(wanted['format'], ('table', 'json'))}")
    folder = Path(wanted["paths"]["runs"])
    rows = []
    for run in all_runs(folder):
        try:
            row = results.summary(run) | {"config": run.config}
        except UserError as error:
            results.say(f"[yellow]left out:[/] {error}")
            continue
        if fits(run, row, wanted):
            rows.append(row)
    rows = ordered(rows, wanted["sort"], wanted["descending"])[: wanted["limit"]]
    if wanted["format"] == "json":
        print(json.dumps(rows, indent=2))
    else:
        show(rows, folder)


def fits(run: Run, row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a run passes every filter that was given."""
    return (
        (wanted["name"] is None or str(wanted["name"]) in row["name"])
        and wanted["status"] in (None, row["status"])
        and (wanted["tag"] is None or wanted["tag"] in row["tags"])
        and contains(row["config"], wanted["where"], run.manifest.get("choices", {}))
    )


def contains(config: dict[str, Any], where: dict[str, Any], choices: dict[str, str]) -> bool:
    """Whether every option in ``where`` has that value in ``config``; a whole group may be given by its option's name."""
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
    with_value = [row for row in rows if value(row) is not None]
    if rows and not with_value and key not in known:
        raise UserError(f"sort={key}: neither a column nor a configuration key of these runs{nearest(key, known)}")
    without = [row for row in rows if value(row) is None]
    try:
        return sorted(with_value, key=value, reverse=descending) + without
    except TypeError:
        return sorted(with_value, key=lambda row: str(value(row)), reverse=descending) + without


def show(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the table."""
    if not rows:
        results.say(f"No runs fit in {folder}. A first one: lmlab train model=lstm budget.tokens=200_000")
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
    results.print_table(f"{len(rows)} runs in {folder}", table, optional)
