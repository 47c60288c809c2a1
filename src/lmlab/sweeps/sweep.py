"""A sweep's own directory: what it was asked for, its jobs, and what has become of each."""

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
from lmlab.surroundings import expanded
from lmlab.sweeps.search.search import Outcome, Phase

JobStatus = Literal["waiting", "running", "not started"] | Outcome
_SECONDS_OF_TRYING = 1.0
"""Whoever only asks whether a sweep is being conducted keeps others from its lock for that moment."""
ENDED: tuple[Outcome, ...] = ("finished", "failed", "pruned")
"""What a job does not go on from when its sweep is resumed; a failed one does when it is retried."""


@dataclass(eq=False)
class Job:
    """One run of a sweep.

    Attributes:
        number: counts the sweep's jobs from 0.
        overrides: what the job changes, as on the command line.
        name: what it is told apart by: those of them that not all jobs have.
        path: its run's directory, once it is prepared.
        error: why it is not finished.
        where: what the engine knows it by: a job id of a cluster, say.
        arm: of a study, which side of it the job belongs to.
        phase: of a study, what the job is for.
        stage: of an experiment with stages, the earlier stage whose run is computed now; ``None``: it is the job's own
            run, that of the last stage.
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
        """The status of a job that has ended; one that was not started is yet to be computed, as if interrupted."""
        assert self.status != "waiting" and self.status != "running"
        return "interrupted" if self.status == "not started" else self.status

    @property
    def described(self) -> str:
        """The job's name and, where it has one, its error, without repeating an option that begins both."""
        if not self.error:
            return self.name
        return self.error if self.error.startswith(f"{self.name}:") else f"{self.name}: {self.error}"

    def end(self, status: Outcome | Literal["not started"], error: str | None = None) -> None:
        """Set what has become of the job."""
        self.status, self.error, self.ended = status, error, now()

    def end_with(self, error: Exception | None) -> None:
        """Set what has become of the job from the error that its run ended with."""
        if error is None:
            self.end("finished")
        else:
            self.end("interrupted" if isinstance(error, Interrupted) else "failed", str(error))


class Sweep:
    """A handle on a sweep's directory.

    ``sweep.json`` holds its definition: the command, where it was given, by which process, and whether that is still at
    it, and how many jobs are to come. ``jobs.json`` holds those that it has begun. Both are replaced whole. Whoever is
    at it holds the lock of the directory, as one holds a run's.

    The sweep may be moved along with its runs: the definition names the directory that it was written in, so paths of
    that time are found again by where they lie from there (see :meth:`located`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: lock.RunLock | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """The content of ``sweep.json``. Raises ``UserError`` when it is missing or cut short."""
        try:
            return read_json(self.path / "sweep.json")
        except FileNotFoundError:
            raise UserError(f"{self.path}: not a sweep (it has no sweep.json)") from None
        except ValueError as error:
            raise UserError(f"{self.path}/sweep.json cannot be read: {error}") from error

    def begin(
        self,
        command: list[str],
        search: dict[str, Any],
        engine: dict[str, Any],
        study: dict[str, Any] | None = None,
    ) -> None:
        """Record what is asked for and who is at it; a sweep that goes on keeps when it was created.

        Args:
            command: the words behind ``lmlab train``, or ``lmlab study`` where there is a study.
            study: the section that declares it.

        Raises:
            UserError: another process is at it.
        """
        deadline = time.monotonic() + _SECONDS_OF_TRYING
        while (held := lock.take(self.path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self._lock = held
        if self._lock is None:
            raise UserError(f"{self.path}: {lock.owner(self.path) or 'another process'} is at this sweep now")
        before = self.definition if (self.path / "sweep.json").exists() else {}
        if before and (jobs := self.jobs):
            self._write_jobs(jobs)  # with the paths that they have by now
        directory = str(self.located(before["directory"])) if before else str(Path.cwd())
        # A command that somebody else gave stays unsigned until this user gives it in the same folder.
        own = not before or self.is_signed or (before["command"], directory) == (command, str(Path.cwd()))
        asked_for = {
            "path": str(self.path.absolute()),
            "command": before.get("command", command),
            "directory": directory,
            "study": study,
        }
        write_json(
            self.path / "sweep.json",
            {
                "version": 1,
                **asked_for,
                "signature": trust.signature(_checksum(asked_for), self.path.name, "sweep resume") if own else None,
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
        """Record that nobody is at it any more."""
        none = {"to_come": 0} if status == "finished" else {}
        write_json(self.path / "sweep.json", self.definition | none | {"status": status, "ended": now()})
        if self._lock is not None:
            self._lock.release()

    @property
    def status(self) -> str:
        """``running``, ``finished`` (every job has ended), or ``interrupted``: also when its process has vanished."""
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
        """The sweep's directory when it was last begun, which is another one if it has been moved since."""
        try:
            path = self.definition.get("path")
        except UserError:
            return None
        return None if path is None else Path(path)

    def located(self, path: str, before: Path | None = None) -> Path:
        """Return where a file or folder of the sweep's definition or jobs lies now, if it was moved with the sweep.

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
        """How many jobs the sweep has not begun yet, as far as its search knew."""
        return int(self.definition.get("to_come", 0))

    def write(self, jobs: list[Job], to_come: int = 0) -> None:
        """Replace the record of the jobs, and of how many are to come."""
        self._write_jobs(jobs)
        if (definition := self.definition).get("to_come") != to_come:
            write_json(self.path / "sweep.json", definition | {"to_come": to_come})

    def _write_jobs(self, jobs: list[Job]) -> None:
        write_json(self.path / "jobs.json", [asdict(job) for job in sorted(jobs, key=lambda job: job.number)])

    def tell_to_stop(self) -> None:
        """Tell the process that is at the sweep to have its runs write their state, and to end; returns at once.

        Raises:
            UserError: nobody is at it, or on another machine.
        """
        definition = self.definition
        if self.status != "running":
            raise UserError(f"{self.path.name}: nobody is at it, it is {self.status}")
        if definition["host"] != os.uname().nodename:
            raise UserError(f"{self.path.name}: its process is on {definition['host']}; cancel it there")
        os.kill(definition["pid"], signal.SIGTERM)

    @property
    def is_signed(self) -> bool:
        """Return whether this user has given the sweep's command, in the folder that the definition names."""
        definition = self.definition
        return trust.is_signature(definition.get("signature"), _checksum(definition))

    def check_signed(self) -> None:
        """Refuse to give a command again that may be somebody else's: it can name folders and code of theirs.

        Raises:
            UserError: this user has not signed it.
        """
        if not self.is_signed:
            raise UserError(
                f"{self.path.name}: its command is not signed by you: this sweep comes from elsewhere, or was changed, "
                f"or an earlier version wrote it; with trust=true, lmlab sweep gives it: {self.command}"
            )

    @property
    def program(self) -> str:
        """Which of lmlab's commands asked for the sweep."""
        return "train" if self.definition.get("study") is None else "study"

    @property
    def command(self) -> str:
        """The command that asked for the sweep, as it would be typed."""
        return shlex.join(["lmlab", self.program, *self.definition["command"]])


def _checksum(definition: dict[str, Any]) -> str:
    """Of what decides which command is given again, and where."""
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
    known = {sweep.path.name: sweep for sweep in all_sweeps(folder)}
    if name is None:
        if not known:
            raise UserError(f"{folder}: no sweeps (lmlab train -m ... makes one)")
        return known[max(known, key=lambda key: (known[key].definition["created"], key))]
    if (expanded(name) / "sweep.json").exists():
        return Sweep(expanded(name).resolve())
    if (full := by_start("name", name, known)) is not None:
        return known[full]
    raise UserError(f"name={name}: neither a sweep's directory nor the start of its name{nearest(name, known)}")
