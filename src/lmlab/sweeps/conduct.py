"""The one loop that every sweep is: ask the search what to compute, have the engine compute it, tell the search."""

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
    """What is shown of a sweep while it is under way."""

    def prepared(self, job: Job, total: int, same: Job | None) -> None:
        """A job's run is ready to be executed, or finished already, or its configuration was refused.

        Args:
            total: how many jobs there will have been in the end, as far as is known.
            same: an earlier job that asked for the same run, which is computed once.
        """

    def ended(self, job: Job) -> None:
        """A job that was executed has ended."""

    def halted(self, why: str, under_way: int) -> None:
        """No further job starts, but ``under_way`` jobs go on to their end."""

    def going_on(self, jobs: list[Job], to_come: int) -> None:
        """Called a few times a second, with the jobs so far and how many more there will be."""


class Conductor:
    """Conducts one sweep.

    Args:
        prepare: makes the run directory of a job ready, which has the path of its run where it began earlier; raises
            ``UserError`` for what cannot be trained. Where the job's own run starts from a stage that is not finished,
            it is that one's run, and it sets ``job.stage``.
        name: what a job is called; ``None``: all its overrides.
        retry: compute jobs again that failed when the sweep was conducted before.
        stop_after: failed jobs after which no further job starts; ``None``: all start. Those that failed when the
            sweep was conducted before do not count.
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
        """By number, jobs that wait for the run of a stage that another job computes, and that other job."""
        self._failed_stages: dict[str, str] = {}
        """By the run's directory, why stages failed."""
        self._name, self._stop_after, self._failures = name, stop_after, 0
        self._halted: str | None = None
        """Why no further job starts, if none does."""
        self._tails: dict[int, Tail] = {}
        self._to_come = search.to_come(self.jobs)
        """As the search said when it was last asked or told something: what a search keeps elsewhere may be gone."""
        self._written: tuple[int, list[tuple[int, str, str | None]]] | None = None

    def conduct(self) -> list[Job]:
        """Compute all that the search asks for and return the jobs, whatever has become of each.

        A job that somebody stops meanwhile is left alone until the sweep is asked for again.

        Raises:
            KeyboardInterrupt: the user, or a signal, stopped it.
            UserError: the search cannot go on.
            OSError: the sweep's directory cannot be written.

        Whichever it is, runs that were under way have written their state.
        """
        try:
            self._go_through()
        except BaseException as error:
            told = isinstance(error, KeyboardInterrupt)
            self._stop_all(str(error) or "stopped from the keyboard" if told else f"the sweep cannot go on: {error}")
            with suppress(OSError):  # the reason itself may be that nothing can be written
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
            if self._written != self._state():  # an engine of a cluster learns later what its jobs are doing
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
        """What the search asks for, less what somebody has stopped, which it proposes again."""
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
        """Prepare the run of a job, or of its next stage, and have it computed."""
        try:
            run = self.prepare(job)
        except UserError as error:
            job.path = None
            job.end("failed", str(error))
        except BaseException:
            del self._proposals[job.number]  # no engine has it
            raise
        else:
            job.path = str(run.path.absolute())
            if job.stage is None and run.status_recorded == "finished":
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
        """Go on with a job whose stage has ended, and with the jobs that waited for the same run."""
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
                with suppress(OSError, UserError):  # the sweep's own record says it too
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
        """Start no further job: take back what waits for a place to run, and record what would have come next."""
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
        """Show the search the new rows of what is under way, and stop what it has seen enough of."""
        for number, proposal in self._proposals.items():
            job = self.jobs[number]
            if job.status != "running" or job.stage is not None or number in self._pruned:
                continue
            if (why := self._show_rows(proposal, job)) is not None:
                self._pruned[number] = why
                with suppress(OSError):  # what it logs to would call it interrupted
                    job.run.announce_pruning(why)
                self.engine.stop(job, why)

    def _show_rows(self, proposal: Proposal, job: Job) -> str | None:
        """Show the search what a job has measured since the last time; return why it is to be stopped, if it is."""
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
                    if job.stage is not None and job.status == "finished":  # the stages after it are not
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
        """What of all that is written down may change."""
        return self._to_come, [(job.number, job.status, job.where) for job in self._in_order()]

    def _in_order(self) -> list[Job]:
        return [self.jobs[number] for number in sorted(self.jobs)]


def _has_begun(job: Job) -> bool:
    return job.path is not None and job.run.exists and bool(job.run.manifest["attempts"])


def _without_paths(overrides: list[str]) -> list[str]:
    """Overrides without where outputs are, which changes when a sweep is moved."""
    return [word for word in overrides if not word.startswith("paths.")]


def _metrics(job: Job) -> dict[str, Any]:
    """What a job's run measured, flat: its metrics, sizes and timings."""
    if job.status != "finished":
        return {}
    manifest = Run(Path(job.path or "")).manifest
    return {**manifest["metrics"], **{f"timings/{name}": value for name, value in manifest["timings"].items()}}
