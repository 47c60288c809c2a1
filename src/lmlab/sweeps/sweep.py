"""A sweep's directory: its definition, its jobs, and their status."""

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmlab.errors import Interrupted, UserError, nearest
from lmlab.runs import lock, trust
from lmlab.runs.content import checksum_of
from lmlab.runs.files import read_json, write_json
from lmlab.runs.lookup import by_start
from lmlab.runs.run import Run, now
from lmlab.runs.version import check_version
from lmlab.surroundings import expanded
from lmlab.sweeps.search.search import Outcome, Phase

JobStatus = Literal["waiting", "running", "not started"] | Outcome
VERSION = 1
"""Version of the format of a sweep's directory."""

_SECONDS_OF_TRYING = 1.0
"""Time to retry taking a lock, because processes that check whether a sweep is running hold it for a moment."""
ENDED: tuple[Outcome, ...] = ("finished", "failed", "pruned")
"""Statuses of jobs that a resumed sweep does not run again; failed ones run again with retry."""


@dataclass(eq=False)
class Job:
    """One run of a sweep.

    Attributes:
        number: index of the job in the sweep, from 0.
        overrides: overrides of the job, as on the command line.
        name: label of the job: the overrides that not all jobs share.
        path: its run directory, once it is prepared.
        error: reason why it is not finished.
        where: the engine's identifier, for example the job id of a cluster.
        arm: arm of a study that the job belongs to.
        phase: purpose of the job in a study.
        stage: in an experiment with stages, the earlier stage being computed; ``None``: the job's own run, which is
            that of the last stage.
    """

    number: int
    overrides: list[str]
    name: str = ""
    status: JobStatus = "waiting"
    path: str | None = None
    error: str | None = None
    where: str | None = None
    started: str = field(default_factory=now)
    ended: str | None = None
    arm: str | None = None
    phase: Phase | None = None
    stage: str | None = None

    @property
    def run(self) -> Run:
        """The run of a job that is prepared."""
        assert self.path is not None, "the job is not prepared"
        return Run(Path(self.path))

    @property
    def outcome(self) -> Outcome:
        """The status of an ended job; one that was not started counts as interrupted."""
        assert self.status != "waiting" and self.status != "running"
        return "interrupted" if self.status == "not started" else self.status

    @property
    def described(self) -> str:
        """The job's name and, where it has one, its error, without repeating an option that begins both."""
        if not self.error:
            return self.name
        return self.error if self.error.startswith(f"{self.name}:") else f"{self.name}: {self.error}"

    def end(self, status: Outcome | Literal["not started"], error: str | None = None) -> None:
        """Set the final status of the job."""
        self.status, self.error, self.ended = status, error, now()

    def end_with(self, error: Exception | None) -> None:
        """Set the final status of the job from the error with which its run ended."""
        if error is None:
            self.end("finished")
        else:
            self.end("interrupted" if isinstance(error, Interrupted) else "failed", str(error))


class Sweep:
    """A handle on a sweep's directory.

    ``sweep.json`` holds its definition: the command, where and by which process it was started, whether that is still
    running, and the number of jobs to come. ``jobs.json`` holds the jobs begun so far. Both are replaced atomically.
    The process that conducts the sweep holds the lock of the directory, which works like that of a run.

    The sweep may be moved along with its runs: the definition records the directory in which it was written, and
    earlier paths are resolved relative to it (see :meth:`located`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: lock.RunLock | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """The content of ``sweep.json``. Raises ``UserError`` when it is missing, cut short or of a newer version."""
        try:
            fields: dict[str, Any] = {"version": 1} | read_json(self.path / "sweep.json")
        except FileNotFoundError:
            raise UserError(f"{self.path}: not a sweep (it has no sweep.json)") from None
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.path}/sweep.json cannot be read: {error}") from error
        check_version(fields, VERSION, self.path, "sweep")
        return fields

    def begin(
        self,
        command: list[str],
        search: dict[str, Any],
        engine: dict[str, Any],
        study: dict[str, Any] | None = None,
    ) -> None:
        """Record the definition and the process that conducts the sweep; a resumed sweep keeps its creation time.

        Args:
            command: the words after ``lmlab train``, or ``lmlab study`` if there is a study.
            study: the section that declares the study.

        Raises:
            UserError: another process is conducting the sweep.
        """
        deadline = time.monotonic() + _SECONDS_OF_TRYING
        while (held := lock.take(self.path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self._lock = held
        if self._lock is None:
            raise UserError(f"{self.path}: sweep is already running ({lock.owner(self.path) or 'another process'})")
        before = self.definition if (self.path / "sweep.json").exists() else {}
        if before and (jobs := self.jobs):
            self._write_jobs(jobs)  # with current paths
        directory = str(self.located(before["directory"])) if before else str(Path.cwd())
        # Another user's command stays unsigned until this user gives it in the same folder.
        own = not before or self.is_signed or (before["command"], directory) == (command, str(Path.cwd()))
        signed = {
            "path": str(self.path.absolute()),
            "command": before.get("command", command),
            "directory": directory,
            "study": study,
        }
        write_json(
            self.path / "sweep.json",
            {
                "version": VERSION,
                **signed,
                "signature": trust.signature(_checksum(signed), self.path.name, "sweep resume") if own else None,
                "created": before.get("created", now()),
                "search": search,
                "engine": engine,
                "to_come": before.get("to_come", 0),
                "status": "running",
                "host": os.uname().nodename,
                "pid": os.getpid(),
            },
        )

    def end(self, status: Literal["finished", "interrupted"]) -> None:
        """Record that no process conducts the sweep any more."""
        none = {"to_come": 0} if status == "finished" else {}
        write_json(self.path / "sweep.json", self.definition | none | {"status": status, "ended": now()})
        if self._lock is not None:
            self._lock.release()

    @property
    def status(self) -> str:
        """``running``, ``finished`` (all jobs have ended), or ``interrupted``, also if its process has vanished."""
        status = str(self.definition["status"])
        return "interrupted" if status == "running" and not lock.is_held(self.path) else status

    @property
    def jobs(self) -> list[Job]:
        """The sweep's jobs, in the order of their numbers."""
        path = self.path / "jobs.json"
        if not path.exists():
            return []
        jobs = [Job(**row) for row in read_json(path)]
        before = self._path_before
        for job in jobs if before != self.path.absolute() else ():
            job.path = None if job.path is None else str(self.located(job.path, before))
        return jobs

    @property
    def _path_before(self) -> Path | None:
        """The sweep's directory when it was last begun, which differs from the current one after a move."""
        try:
            path = self.definition.get("path")
        except UserError:
            return None
        return None if path is None else Path(path)

    def located(self, path: str, before: Path | None = None) -> Path:
        """Return the current location of a path in the sweep's definition or jobs, which may have moved with the sweep.

        Args:
            before: the directory of the sweep when ``path`` was written; ``None``: as the definition says.
        """
        before = before or self._path_before
        here = self.path.absolute()
        if before is None:  # written by an earlier version, which kept runs beside sweeps
            moved = here.parent.parent / "runs" / Path(path).name
            return Path(path) if Path(path).exists() or not moved.exists() else moved
        moved = Path(os.path.normpath(here / os.path.relpath(path, before)))
        return moved if moved.exists() or not Path(path).exists() else Path(path)

    @property
    def to_come(self) -> int:
        """Number of jobs that the sweep has not begun yet, as far as its search knows."""
        return int(self.definition.get("to_come", 0))

    def write(self, jobs: list[Job], to_come: int = 0) -> None:
        """Replace the record of the jobs and the number of jobs to come."""
        self._write_jobs(jobs)
        if (definition := self.definition).get("to_come") != to_come:
            write_json(self.path / "sweep.json", definition | {"to_come": to_come})

    def _write_jobs(self, jobs: list[Job]) -> None:
        write_json(self.path / "jobs.json", [asdict(job) for job in sorted(jobs, key=lambda job: job.number)])

    def tell_to_stop(self) -> None:
        """Ask the process that conducts the sweep to end after its runs have written their state; return at once.

        Raises:
            UserError: the sweep is not running, or runs on another machine.
        """
        definition = self.definition
        if self.status != "running":
            raise UserError(f"{self.path.name}: not running (status: {self.status})")
        if definition["host"] != os.uname().nodename:
            raise UserError(f"{self.path.name}: running on {definition['host']}; stop it there")
        os.kill(definition["pid"], signal.SIGTERM)

    @property
    def is_signed(self) -> bool:
        """Return whether this user has given the sweep's command, in the folder that the definition names."""
        definition = self.definition
        return trust.is_signature(definition.get("signature"), _checksum(definition))

    def check_signed(self) -> None:
        """Refuse to repeat a command that may be another user's: it can name foreign folders and code.

        Raises:
            UserError: this user has not signed it.
        """
        if not self.is_signed:
            raise UserError(
                f"{self.path.name}: its command is not signed by you: this sweep comes from elsewhere, or was changed, "
                f"or an earlier version wrote it; with trust=true, lmlab sweep executes it: {self.command}"
            )

    @property
    def program(self) -> str:
        """The lmlab command that started the sweep: ``train`` or ``study``."""
        return "train" if self.definition.get("study") is None else "study"

    @property
    def command(self) -> str:
        """The command that started the sweep, ready to paste."""
        return shlex.join(["lmlab", self.program, *self.definition["command"]])


def _checksum(definition: dict[str, Any]) -> str:
    """Return a checksum of the parts that determine the repeated command and its folder."""
    parts = {key: definition.get(key) for key in ("path", "command", "directory", "study")}
    return checksum_of({"sweep.json": json.dumps(parts, sort_keys=True).encode()})


def all_sweeps(folder: Path) -> Iterator[Sweep]:
    """Yield every sweep directly below ``folder`` (``<outputs>/sweeps``), oldest first."""
    for definition in sorted(folder.glob("*/sweep.json")):
        yield Sweep(definition.parent)


def find_sweep(name: str | None, folder: Path) -> Sweep:
    """Return the sweep that ``name`` means: a directory, the start of its name in ``folder``; ``None``: the newest.

    Raises:
        UserError: nothing fits, or several do.
    """
    sweeps = {sweep.path.name: sweep for sweep in all_sweeps(folder)}
    if name is None:
        if not sweeps:
            raise UserError(f"{folder}: no sweeps (lmlab train -m ... makes one)")
        return sweeps[max(sweeps, key=lambda key: (sweeps[key].definition["created"], key))]
    if (expanded(name) / "sweep.json").exists():
        return Sweep(expanded(name).resolve())
    if (full := by_start("name", name, sweeps)) is not None:
        return sweeps[full]
    raise UserError(f"name={name}: neither a sweep's directory nor the start of its name{nearest(name, sweeps)}")
