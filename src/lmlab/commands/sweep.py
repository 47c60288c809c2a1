"""``lmlab sweep status|resume|retry|cancel``: show the jobs of a sweep, resume, retry or cancel it."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rich.markup import escape

from lmlab.commands import results, tables
from lmlab.commands.progress_table import STYLE, counts, say_not_started
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Paths
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.numerals import time_left
from lmlab.runs.heartbeat import Heartbeat
from lmlab.sweeps.sweep import Job, Sweep, find_sweep


def main(
    paths: Paths, action: Literal["status", "resume", "retry", "cancel"], name: str | None, trust: bool = False
) -> None:
    """Show a sweep, resume it in this process, or stop the process that computes it."""
    sweep = find_sweep(name, Folders.of(paths).sweeps)
    if action == "status":
        show(sweep)
    elif action == "cancel":
        cancel(sweep)
    else:
        go_on(sweep, retry=action == "retry", trust=trust)


def show(sweep: Sweep) -> None:
    """Print the sweep's jobs and the next commands."""
    jobs, status = sweep.jobs, sweep.status
    for job in jobs:
        if job.status == "running":  # the record is stale if the process that launched the job has died
            status_of_run = job.run.status if job.path and job.run.exists else "interrupted"
            job.status = "interrupted" if status_of_run == "created" else status_of_run
    if jobs:
        begun = [job.run for job in jobs if job.path is not None and job.run.exists and job.status != "waiting"]
        several = [run.measures for run in begun]
        rows = [_row(job, results.headings(Measures.together(several)) if several else {}) for job in jobs]
        optional = ["tokens/s", "left", *(results.optional(several) if several else [])]
        tables.print_table(f"{sweep.path.name}: {status}", rows, optional)
    for job in jobs:
        if job.error and job.status != "not started":
            tables.say(f"{job.error}", f"job {job.number + 1} {job.status}:", STYLE.get(job.status, ""))
    say_not_started(jobs)
    tables.say(counts(jobs, sweep.to_come) if jobs else f"{sweep.path.name}: {status}, no job yet")
    tables.say(f"Its command: {sweep.command}")
    name = f"name={sweep.path.name}"
    if status == "running":
        tables.say(f"Next: {tables.command('sweep', 'cancel', name)}")
    elif any(job.status == "failed" for job in jobs):
        tables.say(f"Next: {tables.command('sweep', 'retry', name)}")
    elif status == "interrupted":
        tables.say(f"Next: {tables.command('sweep', 'resume', name)}")


def _row(job: Job, headings: Mapping[str, str]) -> dict[str, str]:
    """Return a job's row.

    Args:
        headings: headings of the metrics of all jobs' runs, by name.
    """
    status = job.status
    run = job.run if job.path is not None and job.run.exists else None
    beat = Heartbeat.read(run) if run is not None and status == "running" else None
    metrics = run.manifest["metrics"] if run is not None and status == "finished" else beat.metrics if beat else {}
    measured = {} if run is None else {name: run.measures.written(name, metrics.get(name)) for name in headings}
    return {
        "job": str(job.number + 1),
        "options": escape(job.name),
        "stage": escape(job.stage or ""),
        "status": f"[{STYLE.get(status, 'dim')}]{status}[/]",
        "step": f"{beat.step:,} of {beat.steps:,}" if beat else "",
        "left": time_left(beat.seconds_left) if beat and beat.seconds_left is not None else "",
        "tokens/s": f"{beat.tokens_per_second:,.0f}" if beat and beat.tokens_per_second else "",
        **{heading: measured.get(name, "") for name, heading in headings.items()},
        "run": job.run.path.name if job.path else "",
        "where": escape(job.where or ""),
    }


def go_on(sweep: Sweep, retry: bool, trust: bool = False) -> None:
    """Replace this process by the sweep's command, in the directory where it was given.

    Args:
        trust: also run a command that this user has not signed.
    """
    if sweep.status == "running":
        definition = sweep.definition
        raise UserError(
            f"{sweep.path.name}: already running (process {definition['pid']} on {definition['host']}; "
            f"lmlab sweep cancel name={sweep.path.name} stops it)"
        )
    if not trust:
        sweep.check_signed()
    definition = sweep.definition
    folder = sweep.located(definition["directory"])
    if folder.is_dir():
        os.chdir(folder)
    else:
        tables.say(f"{definition['directory']} is gone; continuing in {Path.cwd()}", style="yellow")
    here = str(sweep.path.absolute()).replace("'", r"\'")
    words = [_located(word, sweep) for word in definition["command"]]
    words += [f"hydra.sweep.dir='{here}'", f"hydra.sweeper.retry={str(retry).lower()}"]
    tables.say(sweep.command, "Resuming:")
    sys.stdout.flush()
    # Remove the variable that this command has set for itself.
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    os.execve(sys.executable, [sys.executable, "-P", "-m", "lmlab", sweep.program, *words], environment)


def _located(word: str, sweep: Sweep) -> str:
    """Return a word of the sweep's command, with the current path of a file if the sweep was moved."""
    value = word.rpartition("=")[2]
    path = Path(value.strip("'\""))
    if not path.is_absolute() or path.exists() or not (now := sweep.located(str(path))).exists():
        return word
    return word.removesuffix(value) + value.replace(str(path), str(now))


def cancel(sweep: Sweep) -> None:
    """Stop the process that computes the sweep, and wait until its runs have written their state."""
    sweep.tell_to_stop()
    tables.say("is being stopped; its runs write their state first", sweep.path.name)
    while sweep.status == "running":
        time.sleep(0.1)
    show(sweep)
