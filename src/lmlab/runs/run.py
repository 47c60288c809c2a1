"""A run is a directory, and a directory is a program: everything a command needs to know lies in it."""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal, cast

from lmlab.config import Config, identity
from lmlab.errors import UserError
from lmlab.runs.files import write_json, write_text

LAST = "last.ckpt"
"""In ``checkpoints/``: the state from which training goes on."""
BEST = "best.safetensors"
"""In ``checkpoints/``: the weights of the best validation."""

Status = Literal["created", "running", "finished", "failed", "interrupted"]


class Run:
    """A handle on one run directory; it keeps nothing in memory that the directory does not hold.

    The directory holds ``config.yaml`` (resolved, complete), ``run.json`` (the manifest), ``metrics.jsonl``,
    ``samples.jsonl``, ``run.log``, ``checkpoints/``, ``tokenizer/``, ``model.safetensors`` and, where the code had
    uncommitted changes, ``git.diff``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.weights = path / "model.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.tokenizer = path / "tokenizer"
        self.log = path / "run.log"
        self.error = path / "error.json"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").exists()

    @property
    def config(self) -> Config:
        """The saved configuration. Raises ``UserError`` when it is missing or cut short."""
        from omegaconf import OmegaConf

        try:
            config = OmegaConf.to_container(OmegaConf.load(self.path / "config.yaml"))
        except Exception as error:
            raise UserError(f"{self.path}: config.yaml cannot be read ({type(error).__name__})") from error
        if not isinstance(config, dict) or "model" not in config:
            raise UserError(f"{self.path}: config.yaml is no configuration of a run")
        return config  # type: ignore[return-value]

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of ``run.json``. Raises ``UserError`` when it is missing or cut short."""
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}: not a run directory (it has no run.json)") from None
        except ValueError as error:
            raise UserError(f"{self.path}/run.json cannot be read: {error}") from error

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def status(self) -> Status:
        """The recorded status; ``interrupted`` if it says running but no process holds the run's lock."""
        status = self.status_recorded
        return "interrupted" if status == "running" and not self.is_locked() else status

    @property
    def status_recorded(self) -> Status:
        """The status as the manifest has it, whether or not its process still lives."""
        return cast(Status, self.manifest["status"])

    def create(self, config: Config, run_id: str, **fields: Any) -> None:
        """Write a new run directory: its saved configuration, then its manifest, each of them whole."""
        from omegaconf import OmegaConf

        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        manifest = {
            "id": run_id,
            "identity": identity(config),
            "name": config["name"],
            "status": "created",
            "created": now(),
            "seed": config["seed"],
            "tags": config["tags"],
            "attempts": [],
            "metrics": {},
        }
        write_json(self.path / "run.json", manifest | fields)

    def update(self, change: Callable[[dict[str, Any]], None] | None = None, **fields: Any) -> None:
        """Merge ``fields`` into the manifest, or let ``change`` edit it, and write it whole."""
        manifest = self.manifest
        manifest |= fields
        if change is not None:
            change(manifest)
        write_json(self.path / "run.json", manifest)

    def remove(self) -> None:
        """Delete the directory with all that is in it."""
        shutil.rmtree(self.path)

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[IO[str]]:
        """Hold the run's lock, calling ``waiting`` once if another process holds it now.

        The open file can be handed to a child process; the lock is free once every process that has it is gone,
        however they end.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "run.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def is_locked(self) -> bool:
        """Whether some process is computing this run now (on this machine, or through a file system that locks)."""
        try:
            with (self.path / "run.lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
