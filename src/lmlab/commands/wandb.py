"""``lmlab wandb sync|workspace``: send data of runs that W&B lacks; make pages of a sweep's runs there."""

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape

from lmlab.commands import tables
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Config, Paths, at
from lmlab.errors import RunFailed, UserError, first_line
from lmlab.runs.lookup import all_runs, find
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import find_sweep
from lmlab.wandb.artifacts import requested
from lmlab.wandb.mirror import (
    WandbRecord,
    WandbRun,
    logged_in,
    parent_folder,
    recorded_rows,
    remove_earlier_attempts,
    set_up,
    under_agent,
)
from lmlab.wandb.settings import VARIABLES, WandbOptions, check_timeouts

OF_ANOTHER_RUN = (
    *("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME", "WANDB_MODE"),
    *(variable for name, variables in VARIABLES.items() if name.startswith("run_") for variable in variables),
)
"""Variables that would give all runs the id of an agent's run or the same name, or keep them offline."""

STYLE = {"sent": "green", "not sent": "red", "left out": "yellow"}


def main(
    paths: Paths,
    action: Literal["sync", "workspace"] | None,
    run: str | None,
    init_timeout: float,
    finish_timeout: float,
    name: str | None,
    arm: str,
) -> None:
    """Send missing data to W&B, or make a workspace and a report of a sweep."""
    if action is None:
        raise UserError("expected what to do, as in lmlab wandb sync or lmlab wandb workspace")
    check_timeouts({"init_timeout": init_timeout, "finish_timeout": finish_timeout})
    if action == "sync":
        sync(Folders.of(paths).runs, run, init_timeout, finish_timeout)
    else:
        from lmlab.commands.wandb_workspace import make

        make(find_sweep(name, Folders.of(paths).sweeps), arm)


def sync(folder: Path, run: str | None, init_timeout: float, finish_timeout: float) -> None:
    """Send every run's missing rows and print a table of the results."""
    logged = [find(run, folder)] if run else [one for one in all_runs(folder) if WandbRecord(one).exists]
    if run and not WandbRecord(logged[0]).exists:
        raise UserError(f"run={run}: was not logged to W&B (its logger was without wandb)")
    incomplete = [one for one in logged if not WandbRecord(one).holds(requested(one.config))]
    complete = f"{len(logged) - len(incomplete)} of {len(logged)} runs are complete at W&B"
    if not incomplete:
        tables.say(f"Nothing to send: {complete}." if logged else f"Nothing to send: no run of {folder} has W&B.")
        return
    for name in OF_ANOTHER_RUN:
        os.environ.pop(name, None)
    if not logged_in():
        raise UserError(
            f"{len(incomplete)} runs wait to be sent, but you are not logged in to W&B: set WANDB_API_KEY, or run "
            "wandb login"
        )
    rows = []
    for number, one in enumerate(incomplete, start=1):
        tables.progress_console.print(f"{number}/{len(incomplete)} {one.path.name}", highlight=False, markup=False)
        rows.append(synchronise(one, {"init_timeout": init_timeout, "finish_timeout": finish_timeout}))
    show(rows, folder)
    failed = [row for row in rows if row["result"] == "not sent"]
    if failed:
        raise RunFailed(f"{len(failed)} of {len(rows)} runs were not sent ({failed[0]['why']}); repeat the command")


def hand_to_agent(run: Run, config: Config) -> None:
    """Send a finished run that a W&B agent requests again, because the agent would otherwise see no metric.

    Does nothing if no agent has started this process, or for a run without W&B.
    """
    if not under_agent() or (options := WandbOptions.of(config)) is None or options.mode == "offline":
        return
    if not logged_in():
        return
    WandbRecord(run).begin(run, options)
    section = at(config, "logger.wandb")
    row = synchronise(run, {key: section[key] for key in ("init_timeout", "finish_timeout")})
    if row["result"] != "sent":
        tables.say(f"The recorded result could not be sent to W&B's agent ({row['why']})")


def mirror_evaluations(run: Run) -> None:
    """Add the evaluations of a run to its copy at W&B, at once or, offline, in its files; not for a run without one."""
    record, options = WandbRecord(run), WandbOptions.of(run.config)
    if not record.exists or options is None:
        return
    record.save(complete=False)  # lmlab wandb sync sends them, if they cannot be sent now
    for name in OF_ANOTHER_RUN:
        os.environ.pop(name, None)
    section = at(run.config, "logger.wandb")
    timeouts = {key: section[key] for key in ("init_timeout", "finish_timeout")}
    if options.mode != "offline" and logged_in():
        row = synchronise(run, timeouts)
        if row["result"] == "sent":
            tables.say(f"predictions are at {row['where']}", "W&B:")
            return
        why = row["why"]
    else:
        why = _rewrite_offline(run, record, timeouts) or "offline so far"
    tables.say(f"{why}   {tables.command('wandb', 'sync', f'run={run.id[:6]}')} sends the predictions", "W&B:")


def _rewrite_offline(run: Run, record: WandbRecord, timeouts: dict[str, float]) -> str:
    """Write the offline copy of a run again, with its evaluations; return the reason if that fails."""
    lock = run.try_lock()
    if lock is None:
        return "the run is being computed"
    try:
        set_up()
        remove_earlier_attempts(run, record.fields["id"])
        opened = WandbRun(run, record, "offline", parent_folder(run), requested(run.config), **timeouts)
        for row in recorded_rows(run):
            opened.send(row)
        opened.close(run.manifest["metrics"] | {"status": run.status_recorded}, exit_code=0)
    except Exception as error:  # the scores are recorded even if their copy is not
        return first_line(error)
    finally:
        lock.release()
    return ""


def synchronise(run: Run, timeouts: dict[str, float]) -> dict[str, Any]:
    """Send the data of ``run`` that W&B lacks; return a row with the result, the number of rows, address and reason."""
    row: dict[str, Any] = {"run": run.path.name, "rows": 0, "where": "", "why": ""}
    lock = run.try_lock()
    if lock is None:
        return row | {"result": "left out", "why": "is being computed"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            return row | {"result": "sent"} | _send(run, Path(folder), timeouts)
    except Exception as error:  # an error with one run must not keep the others from being sent
        return row | {"result": "not sent", "why": first_line(error)}
    finally:
        lock.release()


def _send(run: Run, folder: Path, timeouts: dict[str, float]) -> dict[str, Any]:
    record = WandbRecord(run)
    manifest = run.manifest
    status = manifest["status"]
    finished = status == "finished"
    opened = WandbRun(run, record, "online", folder, requested(run.config), **timeouts)
    rows = recorded_rows(run)
    # When an unfinished run is resumed, more may be logged at its newest step, and a row cannot be changed once sent.
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
