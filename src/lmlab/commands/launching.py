"""Execution of sweeps for Hydra's sweepers and launcher, and output of their results."""

import math
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra.core.utils import JobReturn, JobStatus, setup_globals

from lmlab.analysis.records import Record
from lmlab.commands import jobs, results, tables
from lmlab.commands.app import typed_words
from lmlab.commands.jobs import check_jobs, compose, composed, plain, space_of
from lmlab.commands.progress_table import LinesView, TableView, say_not_started
from lmlab.commands.train import Prepared
from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.config.overrides import as_typed
from lmlab.errors import RunFailed, UserError
from lmlab.metrics import Measures
from lmlab.processes.signals import stopped_by_signals
from lmlab.processes.spawn import warm_up
from lmlab.runs import trust
from lmlab.runs.run import Run
from lmlab.sweeps.conduct import Conductor
from lmlab.sweeps.engines.engine import Engine, computes_elsewhere
from lmlab.sweeps.options import SweepOptions
from lmlab.sweeps.search import Grid, Proposal, Search, Space, make
from lmlab.sweeps.search.search import Queue
from lmlab.sweeps.sweep import Job, Sweep
from lmlab.wandb.mirror import under_agent


def sweep(sweeper: Any, words: list[str]) -> list[Job]:
    """Conduct the sweep of a sweeper over the overrides ``words``."""
    refuse_under_agent()
    launcher = sweeper.launcher
    if not hasattr(launcher, "node"):
        raise UserError(
            "hydra/launcher: this launcher cannot execute lmlab's runs (choose sequential, parallel, slurm or ray)"
        )
    if here := not computes_elsewhere(launcher.node["_target_"]):
        _engine(launcher.node)  # its options are checked before data are read
    options = SweepOptions.read(plain(sweeper.config.get("sweep") or {}))
    space = space_of(words, launcher)
    folder = Path(sweeper.config.hydra.sweep.dir)
    before = folder.exists()
    checked = cache(lambda: check_jobs(launcher, space))  # run once, before data are read
    try:
        search = make(options.search or None, space, folder, lambda: _measures(launcher, space, checked))
        checked()
        jobs.check(launcher, space, search, here)
    except UserError:
        if not before:  # remove files that the search has written
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if search.warning is not None:
        tables.say(search.warning, "note:", "yellow")
    record, conducted = conduct(launcher, search, options.section, space.fixed, sweeper.retry)
    _show(record, conducted, search)
    if failed := [job for job in conducted if job.status in ("failed", "interrupted")]:
        again = f"{tables.command('sweep', 'retry', f'name={record.path.name}')} tries them again"
        what = "failed" if all(job.status == "failed" for job in failed) else "failed or were stopped"
        if left := _not_started(record, conducted):
            what, again = (
                f"{what}, {left} {'was' if left == 1 else 'were'} not started",
                f"{again}, and then the others",
            )
        raise RunFailed(f"{len(failed)} of {len(conducted) + record.to_come} jobs {what} ({again})")
    return conducted


def _measures(launcher: Any, space: Space, check: Callable[[], None]) -> Measures:
    """Return the metrics of a sweep's future runs, which are those of the data of one of its jobs.

    Args:
        check: called before data are read.
    """
    check()
    experiment = Experiment.of(composed(launcher, next(space.samples())[0], ""))
    warm_up("wandb" in experiment.loggers)
    from lmlab.training.preflight import open_task

    return open_task(experiment, experiment.progress).measures()


def _not_started(record: Sweep, jobs: list[Job]) -> int:
    """Count the jobs that were not started: recorded ones, and those that the search has not proposed yet."""
    return sum(job.status == "not started" for job in jobs) + record.to_come


def launch(launcher: Any, job_overrides: list[list[str]], first: int) -> list[JobReturn]:
    """Conduct a sweep over the jobs that a sweeper other than lmlab's requests."""
    refuse_under_agent()
    options = SweepOptions.read(plain(launcher.config.get("sweep") or {}))
    if options.zipped:
        raise UserError("sweep.zip: only hydra/sweeper=lmlab pairs values")
    search = Queue(Proposal(first + index, words) for index, words in enumerate(job_overrides))
    record, conducted = conduct(launcher, search, options.section, _common(job_overrides), retry=True)
    _show(record, conducted, search)
    returned = []
    for job in conducted:
        done = JobReturn(overrides=job.overrides)
        done.status = JobStatus.COMPLETED if job.status == "finished" else JobStatus.FAILED
        done.return_value = _score(job) if job.status == "finished" else UserError(job.error or job.status)
        returned.append(done)
    return returned


def _score(job: Job) -> float:
    """Return the final value of the primary metric of a job's run; nan if it has none."""
    score = Record.of(job.run).score
    return math.nan if score is None else score


def conduct(
    launcher: Any,
    search: Search,
    description: dict[str, Any],
    fixed: list[str],
    retry: bool,
    study: dict[str, Any] | None = None,
) -> tuple[Sweep, list[Job]]:
    """Compute the jobs of a search with a launcher's engine, and return the sweep and its jobs.

    Args:
        description: the section that describes the search.
        fixed: overrides that all jobs have.
        retry: compute failed jobs of an earlier attempt again.
        study: the section that declares the study, if the sweep belongs to one.
    """
    setup_globals()
    stop_after = SweepOptions.read(plain(launcher.config.get("sweep") or {})).stop_after
    record = Sweep(Path(launcher.config.hydra.sweep.dir))
    engine = _engine(launcher.node)
    view = TableView() if engine.shows_runs else LinesView()
    record.begin(_command(), description, plain(launcher.node), study)
    with stopped_by_signals(), view:
        prepare = _preparer(launcher)
        conductor = Conductor(record, search, engine, prepare, view, retry, stop_after, _namer(set(fixed)))
        try:
            return record, conductor.conduct()
        except KeyboardInterrupt:
            again = tables.command("sweep", "resume", f"name={record.path.name}")
            jobs_too = " and its jobs are cancelled" if engine.elsewhere else ""
            tables.say(f"stopped{jobs_too}; {again} resumes it", "The sweep is")
            raise


def refuse_under_agent() -> None:
    """Raise ``UserError`` if ``wandb agent`` has started this command: it expects a single run."""
    if under_agent():
        raise UserError("wandb agent announces one run at a time: expected lmlab train without -m and sweep=")


def _common(job_overrides: list[list[str]]) -> list[str]:
    return [word for word in job_overrides[0] if all(word in words for words in job_overrides)]


def _namer(fixed: set[str]) -> Callable[[Job], str]:
    """Return a function that names a job by its overrides without those in ``fixed``, which all jobs have."""

    def name(job: Job) -> str:
        own = [as_typed(word) for word in job.overrides if word not in fixed]
        return " ".join([*filter(None, (job.arm, job.phase)), *map(shlex.quote, own)]) or "the only job"

    return name


def _preparer(launcher: Any) -> Callable[[Job], Run]:
    """Return a function that prepares a job's run directory: it composes the configuration and calls the task."""

    def prepare(job: Job) -> Run:
        begun = job.run if job.path is not None and job.run.exists else None
        if begun is not None and trust.has_other_code(begun):
            line = (
                "resumes with its own copy of your modules, which have changed since; to use them, train it by itself"
            )
            tables.say(line, begun.path.name)
        with trust.same_code(begun):
            prepared = cast(Prepared, launcher.task_function(compose(launcher, job.overrides, job.number)))
        job.stage = prepared.stage
        return prepared.run

    return prepare


def _engine(node: dict[str, Any]) -> Engine:
    """Build an engine after checking its options against the parameters of its constructor."""
    options = plain(node)
    validate(options, "hydra.launcher")
    return cast(Engine, build(options))


def _command() -> list[str]:
    """Return the words of the command line without those that ``lmlab sweep`` adds."""
    return [word for word in typed_words() if not word.startswith(("hydra.sweep.dir=", "hydra.sweeper.retry="))]


def _show(record: Sweep, jobs: list[Job], search: Search) -> None:
    """Print all results side by side, and the jobs that did not finish."""
    finished = [job.run for job in jobs if job.status == "finished"]
    results.show_side_by_side(finished)
    results.say_wandb(list(dict.fromkeys(finished)))
    if not isinstance(search, Grid):  # for a grid, the table is complete
        _show_best(jobs, search)
    stopped = [job for job in jobs if job.status == "pruned"]
    if stopped:
        tables.say(f"{len(stopped)} of {len(jobs)} jobs were pruned: stopped early by the search.")
    for job in jobs:
        if job.status in ("failed", "interrupted"):
            tables.say(job.described, f"{job.status}:", "red")
    say_not_started(jobs, record.to_come)
    name = record.path.name
    tables.say(f"The sweep: {tables.place(record.path)}")
    words = (("report", f"runs={name}"), ("sweep", "status", f"name={name}"), ("dashboard",))
    tables.say("Next: " + "   ".join(tables.command(*command) for command in words))


def _show_best(jobs: list[Job], search: Search) -> None:
    own = {job.number: job for job in jobs}
    for number in search.best():
        if number in own:
            record = Record.of(own[number].run)
            name, measures = record.measures.primary, record.measures
            score = f"{measures.heading(name)} {measures.written(name, record.score)}"
            what = f"{own[number].name} ({score}; {record.run.path})"
        else:
            what = "computed by another sweep of this study"
        tables.say(what, f"Best, job {number + 1}:", "green")
