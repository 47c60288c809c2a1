"""``lmlab wandb sync|workspace``: send what W&B lacks of runs; make pages there of a sweep's runs."""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape

from lmlab.commands import tables
from lmlab.config import Config, Paths
from lmlab.errors import RunFailed, UserError
from lmlab.runs.lookup import all_runs, find
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import find_sweep
from lmlab.wandb.artifacts import Extras
from lmlab.wandb.mirror import WandbRecord, WandbRun, logged_in, recorded_rows, under_agent
from lmlab.wandb.settings import VARIABLES, WandbOptions, check_timeouts

OF_ANOTHER_RUN = (
    *("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME", "WANDB_MODE"),
    *(variable for name, variables in VARIABLES.items() if name.startswith("run_") for variable in variables),
)
"""Variables that would make of every run the one that some agent has started, name all alike, or leave them offline."""

STYLE = {"sent": "green", "not sent": "red", "left out": "yellow"}


def task(
    paths: Paths,
    action: Literal["sync", "workspace"] | None,
    run: str | None,
    init_timeout: float,
    finish_timeout: float,
    name: str | None,
    arm: str,
) -> None:
    """Send what W&B lacks, or make a workspace and a report of a sweep."""
    if action is None:
        raise UserError("expected what to do, as in lmlab wandb sync or lmlab wandb workspace")
    check_timeouts({"init_timeout": init_timeout, "finish_timeout": finish_timeout})
    if action == "sync":
        sync(Path(paths["runs"]), run, init_timeout, finish_timeout)
    else:
        from lmlab.commands.wandb_workspace import make

        make(find_sweep(name, Path(paths["outputs"]) / "sweeps"), arm)


def sync(folder: Path, run: str | None, init_timeout: float, finish_timeout: float) -> None:
    """Send every run's missing rows and print a table of what became of each."""
    chosen = [find(run, folder)] if run else [found for found in all_runs(folder) if WandbRecord(found).exists]
    if run and not WandbRecord(chosen[0]).exists:
        raise UserError(f"run={run}: was not logged to W&B (its logger was without wandb)")
    incomplete = [found for found in chosen if not WandbRecord(found).holds(Extras.of(found.config))]
    complete = f"{len(chosen) - len(incomplete)} of {len(chosen)} runs are complete at W&B"
    if not incomplete:
        tables.say(f"Nothing to send: {complete}." if chosen else f"Nothing to send: no run of {folder} has W&B.")
        return
    for name in OF_ANOTHER_RUN:
        os.environ.pop(name, None)
    if not logged_in():
        raise UserError(
            f"{len(incomplete)} runs wait to be sent, but you are not logged in to W&B: set WANDB_API_KEY, or run "
            "wandb login"
        )
    rows = []
    for number, found in enumerate(incomplete, start=1):
        tables.progress_console.print(f"{number}/{len(incomplete)} {found.path.name}", highlight=False, markup=False)
        rows.append(synchronise(found, {"init_timeout": init_timeout, "finish_timeout": finish_timeout}))
    show(rows, folder)
    failed = [row for row in rows if row["result"] == "not sent"]
    if failed:
        raise RunFailed(f"{len(failed)} of {len(rows)} runs were not sent ({failed[0]['why']}); repeat the command")


def hand_to_agent(run: Run, config: Config) -> None:
    """Give the agent that has started this process a finished run that it asks for anew, or it would see no metric.

    Does nothing in a process that no agent has started, or for a run without W&B.
    """
    if not under_agent() or (options := WandbOptions.of(config)) is None or options.mode == "offline":
        return
    if not logged_in():
        return
    WandbRecord(run).begin(run, options)
    section = config["logger"]["wandb"]
    row = synchronise(run, {key: section[key] for key in ("init_timeout", "finish_timeout")})
    if row["result"] != "sent":
        tables.say(f"W&B's agent could not be given the recorded result ({row['why']})")


def synchronise(run: Run, timeouts: dict[str, float]) -> dict[str, Any]:
    """Send what W&B lacks of ``run``, in a row for the table: what became of it, how many rows, where it is, or why."""
    row: dict[str, Any] = {"run": run.path.name, "rows": 0, "where": "", "why": ""}
    lock = run.try_lock()
    if lock is None:
        return row | {"result": "left out", "why": "is being computed"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            return row | {"result": "sent"} | _send(run, Path(folder), timeouts)
    except Exception as error:  # one run that cannot be sent is no reason not to send the others
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return row | {"result": "not sent", "why": reason}
    finally:
        lock.release()


def _send(run: Run, folder: Path, timeouts: dict[str, float]) -> dict[str, Any]:
    record = WandbRecord(run)
    manifest = run.manifest
    status = manifest["status"]
    finished = status == "finished"
    opened = WandbRun(run, record, "online", folder, Extras.of(run.config), **timeouts)
    rows = recorded_rows(run)
    # Once an unfinished run goes on, more may be logged at its newest step, and a row that was sent cannot be changed.
    for row in rows if finished else rows[:-1]:
        opened.send(row)
    ended = {"status": status} if status in ("finished", "pruned") else {}
    opened.close({**manifest["metrics"], **ended}, exit_code=0 if ended else 1)
    lacking = f"without {' and '.join(opened.left_out)}: not here as the run had it" if opened.left_out else ""
    return {"rows": opened.sent, "where": record.fields["url"], "why": lacking}


def show(rows: list[dict[str, Any]], folder: Path) -> None:
    """Print the table."""
    table = [
        {
            "run": escape(row["run"]),
            "result": f"[{STYLE[row['result']]}]{row['result']}[/]",
            "rows": str(row["rows"]),
            "": escape(" ".join(filter(None, [row["where"], row["why"]]))),
        }
        for row in rows
    ]
    sent = sum(row["rows"] for row in rows)
    tables.print_table(f"{sent} rows of {len(rows)} runs in {folder}", table)
