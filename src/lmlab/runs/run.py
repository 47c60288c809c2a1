"""A run is a directory, and a directory is a program: it contains everything that a command needs."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from lmlab.config.experiment import Experiment
from lmlab.config.identity import identity
from lmlab.config.nodes import Config, at
from lmlab.config.targets import own_targets
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.runs import checkpoints, config_file, content, lock, trust, version
from lmlab.runs.files import discard, numbers, read_json, remove, write_json, write_text
from lmlab.runs.lock import RunLock

_SECONDS_BETWEEN_TRIES = 0.2
_LAID_OUT = ("start", "code", "config.yaml", "config.json", "git.diff", "run.json", "run.lock")
"""Files of a run directory before training starts, besides the records of the lock's holders."""
_WRITTEN = re.compile(
    r"config\.yaml|run\.json|run\.lock|owner\.\d+\.json|git\.diff|code|checkpoints|tokenizer|(model|ema)\.safetensors"
    r"|(metrics|samples|events|evaluations)\.jsonl|(config|breakdown|error|progress|pruned|wandb|slurm)\.json|curves\.npz|(run|retry)\.log"
    r"|stacks|start|evaluations|\.evaluations\.lock|\.?wandb|tensorboard|\..*\.tmp"
)
"""Pattern of the names in a run directory that lmlab and its loggers write."""
_MEASURED = ("metrics", "timings", "generation", "checks", "baselines")
"""Sections of a manifest with numbers that may not be finite."""

Status = Literal["created", "running", "finished", "failed", "interrupted", "pruned"]
"""``pruned``: a search has stopped the run because of poor results. The same command resumes it."""


class Run:
    """A handle on one run directory; it caches no content of the directory.

    The directory holds ``config.yaml`` (resolved, complete; ``config.json`` is a copy of it that is read faster),
    ``run.json`` (the manifest), ``metrics.jsonl`` (and, of a finished run, ``curves.npz``: the points of its figures),
    ``samples.jsonl``, ``events.jsonl`` (where something went wrong), ``evaluations.jsonl`` and ``evaluations/`` (scores
    and answers by ``lmlab evaluate``), ``run.log``, ``checkpoints/``, ``tokenizer/``,
    ``model.safetensors``, ``ema.safetensors`` (with ``callbacks=ema``), ``breakdown.json`` (where the loss of the final
    weights comes from) and, where the code had uncommitted changes, ``git.diff``; where its configuration names the
    user's own modules, ``code/``, a copy of their sources (see :mod:`lmlab.runs.trust`); where it began with the
    weights of another run, ``start/``, a copy of them; while it is computed, ``progress.json`` and who does it,
    ``owner.<number>.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / checkpoints.BEST
        self.weights = path / "model.safetensors"
        self.ema = path / "ema.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.tokenizer = path / "tokenizer"
        self.log = path / "run.log"
        self.error = path / "error.json"
        self.pruned = path / "pruned.json"
        self.events = path / "events.jsonl"
        self.breakdown = path / "breakdown.json"
        self.code = path / "code"
        self.start = path / "start"

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
        try:
            text = (self.path / "config.yaml").read_bytes()
            config = config_file.load(text, self.path / "config.json")
        except Exception as error:
            raise UserError(f"{self.path}: config.yaml cannot be read ({type(error).__name__})") from error
        if not text.endswith(b"\n"):
            raise UserError(f"{self.path}: config.yaml cannot be read (its last line is cut short)")
        if not isinstance(config, dict) or "model" not in config:
            raise UserError(f"{self.path}: config.yaml is no configuration of a run")
        return version.read_config(config)

    @property
    def experiment(self) -> Experiment:
        """The saved configuration as an experiment. Raises ``UserError`` if it cannot be read."""
        return Experiment.of(self.config)

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of ``run.json``. Raises ``UserError`` when it cannot be read or is of a newer version."""
        try:
            manifest = read_json(self.path / "run.json")
        except FileNotFoundError:
            raise UserError(f"{self.path}: not a run directory (it has no run.json)") from None
        except OSError as error:
            raise UserError(f"{self.path}/run.json cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}/run.json cannot be read: {error}") from error
        if not isinstance(manifest, dict):
            raise UserError(f"{self.path}/run.json is no manifest of a run")
        manifest |= {section: numbers(manifest[section]) for section in _MEASURED if section in manifest}
        return version.read_manifest(manifest, self.path)

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def measures(self) -> Measures:
        """The metrics that the run computes."""
        return version.measures_of(self.manifest)

    @property
    def status(self) -> Status:
        """The recorded status; ``interrupted`` if it is ``running`` but no process holds the run's lock."""
        return self.manifest_and_status()[1]

    def manifest_and_status(self) -> tuple[dict[str, Any], Status]:
        """Return the manifest with the status derived from it (see :attr:`status`). Raises ``UserError`` like both."""
        manifest = self.manifest
        if manifest.get("status") == "running" and not self.is_locked():
            # A process that ends a run writes the status before releasing the lock, so the manifest is read again.
            manifest = self.manifest
            if manifest.get("status") == "running":
                return manifest, "interrupted"
        return manifest, cast(Status, manifest.get("status"))

    @property
    def status_recorded(self) -> Status:
        """The status in the manifest, regardless of whether its process is alive."""
        return cast(Status, self.manifest["status"])

    @property
    def is_finished(self) -> bool:
        """Return whether the directory exists and holds the result of a finished run."""
        return self.exists and self.status_recorded == "finished"

    def create(self, config: Config, run_id: str, diff: str | None = None, **fields: Any) -> None:
        """Write a new run directory: its saved configuration, ``git.diff`` and the manifest, each atomically.

        If that fails or is interrupted, nothing remains, including the lock that this process holds.
        """
        try:
            self._lay_out(config, run_id, diff, **fields)
        except BaseException:
            self._discard()
            raise

    def _lay_out(self, config: Config, run_id: str, diff: str | None, **fields: Any) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        fields |= self._save(config)
        if diff:
            write_text(self.path / "git.diff", diff)
        manifest = {
            "version": version.VERSION,
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

    def _discard(self) -> None:
        """Remove the files written by :meth:`create`, and the directory unless it contains other files."""
        for path in [*self.path.glob("owner.*.json"), *(self.path / name for name in _LAID_OUT)]:
            remove(path)
        with suppress(OSError):
            self.path.rmdir()

    def refresh(self, config: Config) -> None:
        """Save an equivalent configuration, with other devices or paths, unless the run is being computed.

        The user's sources that it names are saved again, because those of a logger, for example, may have changed. So
        is the folder in which the command was given, because paths are relative to it.
        """
        if (config != self.config or own_targets(config)) and (lock := self.try_lock()) is not None:
            try:
                fields = self._save(config)
                provenance = self.manifest.get("provenance", {}) | {"directory": str(Path.cwd())}
                self.update(provenance=provenance, **fields)
            finally:
                lock.release()

    def _save(self, config: Config) -> dict[str, Any]:
        """Write the configuration and the sources that it names; return the fields that the manifest needs for them."""
        files = content.own_sources(config)
        recorded = at(config, "content.code")
        if recorded is not None and recorded != content.code_checksum(config):
            raise UserError(f"{self.path.name}: its source files have changed since this configuration was composed")
        trust.write_code(self.code, files)
        text = config_file.dump(config)
        write_text(self.path / "config.yaml", text)
        write_text(self.path / "config.json", config_file.dump_copy(config, text))
        return {"signature": trust.sign(self)} if files else {}

    def update(self, change: Callable[[dict[str, Any]], None] | None = None, **fields: Any) -> None:
        """Merge ``fields`` into the manifest, or let ``change`` edit it, and write it atomically."""
        manifest = self.manifest
        manifest |= {"version": version.VERSION, **fields}
        if change is not None:
            change(manifest)
        write_json(self.path / "run.json", manifest)

    def announce_pruning(self, why: str) -> None:
        """Tell the processes of the run that the next stop signal comes from a search."""
        write_json(self.pruned, {"why": why})

    def mark_pruned(self, why: str) -> None:
        """Record that a search stopped the run, unless another process is computing it by now."""

        def change(manifest: dict[str, Any]) -> None:
            manifest["status"] = "pruned"
            if manifest["attempts"]:
                manifest["attempts"][-1] |= {"status": "pruned", "error": why}

        if (lock := self.try_lock()) is not None:
            try:
                if self.status_recorded in ("running", "interrupted"):
                    self.update(change)
                remove(self.pruned)
            finally:
                lock.release()

    def remove(self) -> None:
        """Delete the directory atomically; a killed process leaves no partial run."""
        discard(self.path)

    def foreign(self) -> list[str]:
        """Return the names of entries in the directory that lmlab did not write."""
        return sorted(path.name for path in self.path.iterdir() if not _WRITTEN.fullmatch(path.name))

    @contextmanager
    def lock(self, waiting: Callable[[str], None]) -> Iterator[RunLock]:
        """Hold the run's lock; if it is not free, call ``waiting`` once with a description of its holder and wait.

        A child process that inherits its descriptor holds it too (see :mod:`lmlab.runs.lock`).
        """
        held = self.try_lock()
        if held is None:
            owner = lock.owner(self.path)
            waiting("another process" if owner is None else str(owner))
        while held is None:
            time.sleep(_SECONDS_BETWEEN_TRIES)
            held = self.try_lock()
        try:
            yield held
        finally:
            held.release()

    def try_lock(self) -> RunLock | None:
        """Take the run's lock and return it; the caller releases it. Return ``None`` if another process holds it."""
        return lock.take(self.path)

    def is_locked(self) -> bool:
        """Return whether any process computes this run now, on this machine or another one that shares the folder."""
        return lock.is_held(self.path)


def training_flops(forward: float, tokens: float = 1) -> float:
    """Return the operations of training on some tokens: the backward pass costs twice the ``forward`` pass."""
    return 3 * forward * tokens


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
