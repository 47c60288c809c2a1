"""The main loop of every sweep: get jobs from the search, have the engine compute them, report the results."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from lmlab.errors import UserError
from lmlab.runs.files import Tail
from lmlab.runs.run import Run
from lmlab.sweeps.engines.engine import Engine
from lmlab.sweeps.search import Proposal, Search
from lmlab.sweeps.sweep import ENDED, Job, Sweep


class View(Protocol):
    """Display of a sweep in progress."""

    def prepared(self, job: Job, total: int, same: Job | None) -> None:
        """Show that a job's run is ready to be executed, already finished, or that its configuration was refused.

        Args:
            total: number of jobs in the whole sweep, as far as is known.
            same: an earlier job with the same run, which is computed only once.
        """

    def ended(self, job: Job) -> None:
        """Show that a job has ended."""

    def halted(self, why: str, under_way: int) -> None:
        """Show that no further job starts; ``under_way`` running jobs continue to their end."""

    def going_on(self, jobs: list[Job], to_come: int) -> None:
        """Update the display; called a few times a second with the jobs so far and the number of jobs to come."""


class Conductor:
    """Runs the main loop of one sweep.

    Args:
        prepare: prepares the run directory of a job, whose ``path`` is set if its run began earlier; raises
            ``UserError`` for a run that cannot be trained. If the job's own run starts from an unfinished stage,
            prepares the stage's run and sets ``job.stage``.
        name: returns the name of a job; by default all its overrides.
        retry: recompute jobs that failed when the sweep was last conducted.
        stop_after: number of failed jobs after which no further job starts; ``None``: all start. Failures of earlier
            attempts of the sweep do not count.
    """

    def __init__(
        self,
        sweep: Sweep,
        search: Search,
        engine: Engine,
        prepare: Callable[[Job], Run],
        view: View,
        retry: bool = True,
        stop_after: int | None = None,
        name: Callable[[Job], str] = lambda job: " ".join(job.overrides),
    ) -> None:
        self.sweep = sweep
        self.search = search
        self.engine = engine
        self.prepare = prepare
        self.view = view
        kept = ENDED if not retry else tuple(status for status in ENDED if status != "failed")
        self._before = {job.number: job for job in sweep.jobs if job.status in kept}
        self.jobs: dict[int, Job] = {job.number: job for job in sweep.jobs if job.status != "not started"}
        self._proposals: dict[int, Proposal] = {}
        self._pruned: dict[int, str] = {}
        self._aside: set[int] = set()
        self._same_stage: dict[int, Job] = {}
        """Jobs waiting for the run of a stage that another job computes, by number, with that other job."""
        self._failed_stages: dict[str, str] = {}
        """Errors of failed stages, by run directory."""
        self._name, self._stop_after, self._failures = name, stop_after, 0
        self._halted: str | None = None
        """Reason why no further job starts; ``None`` if jobs may start."""
        self._tails: dict[int, Tail] = {}
        self._to_come = search.to_come(self.jobs)
        """Value of the search's last answer; what a search stores elsewhere may be gone."""
        self._written: tuple[int, list[tuple[int, str, str | None]]] | None = None

    def conduct(self) -> list[Job]:
        """Compute all jobs of the search and return them, in any final status.

        A job that the user stops individually is left out until the sweep is started again.

        Raises:
            KeyboardInterrupt: the user or a signal stopped the sweep.
            UserError: the search cannot go on.
            OSError: the sweep's directory cannot be written.

        In each case, runs in progress have written their state.
        """
        try:
            self._go_through()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            self._stop_all(str(error) or "stopped from the keyboard" if stopped else f"the sweep cannot go on: {error}")
            with suppress(OSError):  # writing may be what failed
                self._write()
                self.sweep.end("interrupted")
            raise
        left = self._aside or any(job.status == "not started" for job in self.jobs.values())
        self.sweep.end("interrupted" if left or (self._halted and self._to_come) else "finished")
        return self._in_order()

    def _go_through(self) -> None:
        while True:
            proposal = None
            while self._may_begin and (proposal := self._next()) is not None:
                self._take(proposal)
            for job in self.engine.poll(0.0 if proposal is not None else 0.25):
                if job.stage is None:
                    self._end(job)
                else:
                    self._end_stage(job)
            if self._written != self._state():  # the engine of a cluster learns the status of jobs later
                self._write()
            self._watch()
            self.view.going_on(self._in_order(), self._to_come)
            if not self._proposals and (self.search.done or self._halted or (self._aside and proposal is None)):
                return

    @property
    def _may_begin(self) -> bool:
        """Return whether the engine has room, also for the jobs that wait for a stage."""
        return not self._halted and self.engine.free > len(self._same_stage)

    def _next(self) -> Proposal | None:
        """Return the next proposal of the search, skipping jobs that the user has stopped, which it proposes again."""
        while (proposal := self.search.ask()) is not None and proposal.number in self._aside:
            pass
        return proposal

    def _take(self, proposal: Proposal) -> None:
        number = proposal.number
        before = self._before.get(number)
        same = before is not None and _without_paths(before.overrides) == _without_paths(proposal.overrides)
        if before is not None and same and (before.status != "finished" or (before.path and before.run.exists)):
            self.jobs[number] = before
            self._show_rows(proposal, before)
            self._tell(proposal, before)
            return
        begun = self.jobs.get(number)
        path = begun.path if begun is not None and begun.overrides == proposal.overrides else None
        job = self.jobs[number] = self._job(proposal, path)
        self._to_come = self.search.to_come(self.jobs)
        self._proposals[number] = proposal
        self._begin(job)

    def _begin(self, job: Job) -> None:
        """Prepare the run of a job, or of its next stage, and submit it."""
        try:
            run = self.prepare(job)
        except UserError as error:
            job.path = None
            job.end("failed", str(error))
        except BaseException:
            del self._proposals[job.number]  # it was not submitted
            raise
        else:
            job.path = str(run.path.absolute())
            if job.stage is None and run.is_finished:
                job.end("finished")
        if job.stage is not None and job.path in self._failed_stages:
            job.end("failed", self._failed_stages[job.path])
        others = [other for other in self._in_order() if other is not job and other.path == job.path]
        self.view.prepared(job, self.search.total, others[0] if others and job.path and job.stage is None else None)
        if job.status != "waiting":
            self._end(job, shown=True)
            return
        computing = [other for other in others if other.number in self._proposals] if job.stage is not None else []
        if computing:
            self._same_stage[job.number] = computing[0]
        else:
            self.engine.submit(job)
        self._write()

    def _end_stage(self, job: Job) -> None:
        """Continue a job whose stage has ended, and the jobs that waited for the same run."""
        waiting = [self.jobs[number] for number, other in self._same_stage.items() if other is job]
        for other in waiting:
            del self._same_stage[other.number]
        if job.status == "failed":
            job.error = f"stage {job.stage}: {job.error}"
            self._failed_stages[str(job.path)] = job.error
        for one in (job, *waiting):
            one.status, one.error, one.ended, one.where = job.status, job.error, job.ended, None
        for one in (job, *waiting):
            if one.status != "finished":
                self._end(one)
            elif self._halted and one is not job:
                one.path = None
                one.end("interrupted", self._halted)
                self._end(one)
            else:
                one.status, one.ended = "waiting", None
                self._begin(one)

    def _job(self, proposal: Proposal, path: str | None = None) -> Job:
        job = Job(proposal.number, proposal.overrides, path=path, arm=proposal.arm, phase=proposal.phase)
        job.name = self._name(job)
        return job

    def _end(self, job: Job, shown: bool = False) -> None:
        proposal = self._proposals.pop(job.number)
        if job.number in self._pruned:
            if job.status == "interrupted":
                job.status = "pruned"
            if job.path is not None:
                with suppress(OSError, UserError):  # also recorded by the sweep
                    job.run.mark_pruned(self._pruned[job.number])
        if job.status == "interrupted" and job.error == self._halted and not _has_begun(job):
            job.status = "not started"
        if job.status == "interrupted":
            self._aside.add(job.number)
        self._write()
        self._show_rows(proposal, job)
        self._tell(proposal, job)
        if not shown and job.status != "not started":
            self.view.ended(job)
        self._failures += job.status == "failed"
        if self._failures == self._stop_after and not self._halted:
            self._halt()

    def _halt(self) -> None:
        """Start no further job: withdraw waiting jobs, and record those that would have come next."""
        failed = "1 job failed" if self._failures == 1 else f"{self._failures} jobs failed"
        self._halted = f"{failed} (sweep.stop_after={self._stop_after})"
        for proposal in self.search.upcoming():
            if proposal.number not in self.jobs:
                job = self.jobs[proposal.number] = self._job(proposal)
                job.end("not started", self._halted)
        self._to_come = self.search.to_come(self.jobs)
        under_way = [self.jobs[number] for number in self._proposals]
        for job in under_way:
            if job.status == "waiting":
                self.engine.stop(job, self._halted)
        self.view.halted(self._halted, sum(job.status == "running" for job in under_way))

    def _tell(self, proposal: Proposal, job: Job) -> None:
        self.search.tell(proposal, job.outcome, _metrics(job), Path(job.path) if job.path else None)
        self._to_come = self.search.to_come(self.jobs)

    def _watch(self) -> None:
        """Pass new rows of running jobs to the search, and stop jobs that it prunes."""
        for number, proposal in self._proposals.items():
            job = self.jobs[number]
            if job.status != "running" or job.stage is not None or number in self._pruned:
                continue
            if (why := self._show_rows(proposal, job)) is not None:
                self._pruned[number] = why
                with suppress(OSError):  # otherwise loggers would report the run as interrupted
                    job.run.announce_pruning(why)
                self.engine.stop(job, why)

    def _show_rows(self, proposal: Proposal, job: Job) -> str | None:
        """Pass the new rows of a job to the search; return the reason to stop the job, or ``None``."""
        if job.path is None or job.stage is not None:
            return None
        rows = self._tails.setdefault(job.number, Tail(job.run.metrics)).new_rows()
        return self.search.watch(proposal, rows) if rows else None

    def _stop_all(self, why: str) -> None:
        for number in self._same_stage:
            self.jobs[number].end("interrupted", why)
            self._proposals.pop(number)
        self._same_stage.clear()
        under_way = [self.jobs[number] for number in self._proposals]
        for job in under_way:
            self.engine.stop(job, why)
        while under_way:
            try:
                for job in self.engine.poll(0.25):
                    if job.stage is not None and job.status == "finished":  # later stages are not finished
                        job.end("interrupted", why)
                    self._proposals.pop(job.number, None)
                under_way = [job for job in under_way if job.status in ("waiting", "running")]
                self.view.going_on(self._in_order(), self._to_come)
            except KeyboardInterrupt:
                self.engine.kill()

    def _write(self) -> None:
        self.sweep.write(self._in_order(), self._to_come)
        self._written = self._state()

    def _state(self) -> tuple[int, list[tuple[int, str, str | None]]]:
        """Return the mutable parts of the sweep's record, to detect changes."""
        return self._to_come, [(job.number, job.status, job.where) for job in self._in_order()]

    def _in_order(self) -> list[Job]:
        return [self.jobs[number] for number in sorted(self.jobs)]


def _has_begun(job: Job) -> bool:
    return job.path is not None and job.run.exists and bool(job.run.manifest["attempts"])


def _without_paths(overrides: list[str]) -> list[str]:
    """Return overrides without paths of outputs, which change when a sweep is moved."""
    return [word for word in overrides if not word.startswith("paths.")]


def _metrics(job: Job) -> dict[str, Any]:
    """Return a flat dictionary of the metrics, sizes and timings of a job's run."""
    if job.status != "finished":
        return {}
    manifest = Run(Path(job.path or "")).manifest
    return {**manifest["metrics"], **{f"timings/{name}": value for name, value in manifest["timings"].items()}}
