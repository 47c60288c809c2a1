"""``lmlab runs``: a table of what is in the outputs folder, filtered and sorted."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

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
        results.as_json(rows)
    else:
        show(rows, folder)


def fits(run: Run, row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a run passes every filter that was given."""
    choices = run.manifest.get("choices", {})
    for key in ("model", "data"):
        if wanted[key] is not None and choices.get(key) != wanted[key]:
            return False
    if wanted["status"] is not None and row["status"] != wanted["status"]:
        return False
    if wanted["tag"] is not None and wanted["tag"] not in row["tags"]:
        return False
    for condition in wanted["where"]:
        key, separator, value = str(condition).partition("=")
        if not separator:
            raise UserError(f"where={condition}: expected key=value, for example where=[optimizer.lr=0.001]")
        expected = OmegaConf.create({"value": None})
        expected = OmegaConf.from_dotlist([f"value={value}"])
        if OmegaConf.select(OmegaConf.create(row["config"]), key) != expected.value:
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
    """Print the table, and the next commands."""
    if not rows:
        results.say(f"No runs fit in {folder}. A first one: lmlab train model=lstm budget.tokens=200_000")
        return
    table = Table(title=f"{len(rows)} runs in {folder}", title_justify="left")
    headings = {
        **{"id": "{}", "name": "{}", "status": "{}", "seed": "{}", "bits_per_byte": "{:.4f}", "loss": "{:.4f}"},
        **{"parameters": "{:,}", "tokens": "{:,}", "tokens_per_second": "{:,.0f}", "seconds": "{:,.1f}", "created": "{}"},
    }
    for heading, form in headings.items():
        right = form != "{}"
        table.add_column(heading.replace("_per_", "/").replace("tokens/second", "tokens/s"), justify="right" if right else "left")
    for row in rows:
        cells = ["" if row[key] is None else escape(form.format(row[key])) for key, form in headings.items()]
        cells[2] = f"[{STYLE[row['status']]}]{cells[2]}[/]"
        table.add_row(*cells)
    results.console.print(table)
