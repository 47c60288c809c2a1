"""Progress of a running sweep: a line for each job, or a table of all running jobs."""

import time
from collections import Counter
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmlab.commands import tables
from lmlab.metrics import VALIDATION
from lmlab.numerals import compact, time_left, written
from lmlab.progress import Pace
from lmlab.runs.heartbeat import Heartbeat
from lmlab.sweeps.sweep import Job

SECONDS_BETWEEN_LINES = 30
STYLE = {
    "finished": "green",
    "failed": "red",
    "pruned": "magenta",
    "interrupted": "yellow",
    "running": "cyan",
    "not started": "dim",
}


class SweepPace:
    """Estimate of the time left in a sweep, from the progress of its jobs.

    The progress of a job before its first observed step is not counted, because it may resume from a checkpoint.
    """

    def __init__(self) -> None:
        self._pace: Pace | None = None
        self._seen: set[Job] = set()
        """All jobs that have been running or waiting."""
        self._first: dict[Job, float] = {}
        self._last: dict[Job, float] = {}
        self.seconds_left: float | None = None

    def look(self, jobs: list[Job], to_come: int) -> None:
        """Update the estimate with the current progress of the jobs."""
        left = float(to_come)
        for job in jobs:
            if job.status in ("running", "waiting"):
                self._seen.add(job)
                part = _part(job)
                left += 1 - (part or 0.0)
            elif job not in self._seen:  # from an earlier attempt; if it was interrupted, it will be resumed
                left += job.status in ("interrupted", "not started")
                continue
            else:  # a failed or stopped job keeps its last observed progress
                part = 1.0 if job.status in ("finished", "pruned") else None
            if part is not None:
                self._first[job] = min(self._first.get(job, 0.0 if part == 1.0 else part), part)
                self._last[job] = part
        if self._pace is None and any(job.status == "running" for job in jobs):
            self._pace = Pace()
        done = sum(self._last.values()) - sum(self._first.values())
        if self._pace is not None and done > 0:
            self.seconds_left = self._pace.seconds_left(done, left)

    def __str__(self) -> str:
        return f"about {time_left(self.seconds_left)} left" if self.seconds_left else ""


def _part(job: Job) -> float | None:
    """Return the completed part of a running job, from 0 to 1; ``None`` before its first step."""
    beat = Heartbeat.read(job.run) if job.path and job.status == "running" else None
    return beat.step / beat.steps if beat is not None and beat.steps else None


class LinesView:
    """View that prints a line before each job; the job's run shows its own progress."""

    def __init__(self) -> None:
        self._pace = SweepPace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: there is nothing to clean up."""

    def prepared(self, job: Job, total: int, same: Job | None) -> None:
        left = f" ({self._pace})" if str(self._pace) else ""
        stage = f", stage {job.stage}" if job.stage is not None else ""
        tables.say(job.name + left, f"job {job.number + 1} of {total}{stage}:")
        say_same(job, same)
        if job.status == "failed":
            tables.say(job.error or "", "failed:", "red")

    def ended(self, job: Job) -> None:
        if job.status != "finished":
            tables.say(job.error or "", f"{job.status}:", STYLE.get(job.status, ""))

    def halted(self, why: str, under_way: int) -> None:
        continues = "job continues" if under_way == 1 else "jobs continue"
        going_on = f"; {under_way} running {continues}" if under_way else ""
        tables.say(f"{why}{going_on}", "No further job starts:", "yellow")

    def going_on(self, jobs: list[Job], to_come: int) -> None:
        self._pace.look(jobs, to_come)  # the running job shows its own progress


class TableView(LinesView):
    """View with a live table of the running jobs; without a terminal, a line at intervals."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Live | None = None
        self._shown_at = time.monotonic()

    def __enter__(self) -> Self:
        if tables.progress_console.is_terminal:
            self._live = Live(console=tables.progress_console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def prepared(self, job: Job, total: int, same: Job | None) -> None:
        say_same(job, same)
        if job.status == "failed":
            self.ended(job)

    def ended(self, job: Job) -> None:
        tables.say(job.described, f"job {job.number + 1} {job.status}:", STYLE.get(job.status, ""))

    def going_on(self, jobs: list[Job], to_come: int) -> None:
        self._pace.look(jobs, to_come)
        line = ", ".join(filter(None, (counts(jobs, to_come), str(self._pace))))
        if self._live is not None:
            self._live.update(Group(progress_table(jobs), Text(line, style="bold")))
        elif time.monotonic() - self._shown_at >= SECONDS_BETWEEN_LINES:
            self._shown_at = time.monotonic()
            tables.progress_console.print(line, soft_wrap=True)


def say_same(job: Job, same: Job | None) -> None:
    """Print that a job has the same run as an earlier one, because the results do not show it."""
    if same is not None:
        tables.say(
            f"asks for the same run as job {same.number + 1} ({same.name}): the options that differ change "
            "no result, so the run is computed once for both (rerun=true computes it for each)",
            f"job {job.number + 1} ({job.name})",
            "yellow",
        )


NAMED = 8
"""The largest number of jobs that a line names as not started."""


def say_not_started(jobs: list[Job], to_come: int = 0) -> None:
    """Print which jobs were not started, and why; print nothing if all were.

    Args:
        to_come: the number of further jobs that the search has not proposed yet.
    """
    left = [job for job in jobs if job.status == "not started"]
    if (number := len(left) + to_come) == 0:
        return
    names = [job.name for job in left[:NAMED]]
    names += [f"and {number - len(names)} more"] if number > len(names) else []
    why = f": {left[0].error}" if left else ""
    tables.say(", ".join(names) + why, f"{number} {'job was' if number == 1 else 'jobs were'} not started:", "yellow")


def counts(jobs: list[Job], to_come: int) -> str:
    """Count jobs by status: ``6 jobs: 1 finished, 2 running, 3 to come``."""
    numbers: dict[str, int] = dict(Counter(job.status for job in jobs)) | ({"to come": to_come} if to_come else {})
    total = len(jobs) + to_come
    return f"{total} {'job' if total == 1 else 'jobs'}: " + ", ".join(f"{n} {status}" for status, n in numbers.items())


def progress_table(jobs: list[Job]) -> Table:
    """Return a table of the running and waiting jobs: progress, speed, time left and the newest measurements.

    The loss is that of training batches; the column of the validation shows the run's primary metric.
    """
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    under_way = [job for job in jobs if job.status in ("running", "waiting")]
    measures = {job: job.run.measures for job in under_way if job.status == "running" and job.path and job.run.exists}
    primary = {one.heading(one.primary) for one in measures.values()}
    validation = primary.pop() if len(primary) == 1 else VALIDATION
    for heading in ("job", "", "step", "tokens/s", "loss", validation, "left"):
        table.add_column(heading, justify="left" if heading in ("job", "") else "right", no_wrap=True)
    for job in under_way:
        beat = Heartbeat.read(job.run) if job.path and job.status == "running" else None
        name = f"{job.number + 1} {job.name}" + (f" ({job.stage})" if job.stage is not None else "")
        if beat is None or not beat.steps:
            table.add_row(
                Text(name), Text("starting" if job.status == "running" else job.where or "waiting", style="dim")
            )
            continue
        table.add_row(
            Text(name),
            ProgressBar(beat.steps, beat.step, width=16),
            f"{beat.step:,}/{beat.steps:,}",
            compact(beat.tokens_per_second),
            "" if beat.train_loss is None else written(beat.train_loss, "{:.3f}"),
            measures[job].written(name := measures[job].primary, beat.metrics.get(name)) if job in measures else "",
            "" if beat.seconds_left is None else time_left(beat.seconds_left),
        )
    return table
