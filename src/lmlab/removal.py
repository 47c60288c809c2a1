"""Find what can be removed from an outputs folder (files of runs, whole runs, caches, temporary files), and remove it.

An item is removed under the lock of its run, and each file or folder completely or not at all.
"""

import re
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from lmlab.analysis.records import Record, Records
from lmlab.analysis.selection import named
from lmlab.config.experiment import Folders
from lmlab.config.nodes import at, has
from lmlab.config.overrides import written
from lmlab.data.fingerprints import streamed_fingerprint
from lmlab.errors import UserError
from lmlab.runs import checkpoints, lock
from lmlab.runs.files import DISCARDED, discard, read_json, size_of
from lmlab.runs.run import Run, Status
from lmlab.sweeps.sweep import Sweep, all_sweeps
from lmlab.wandb.artifacts import requested
from lmlab.wandb.mirror import WandbRecord

Kind = Literal["checkpoints", "wandb", "caches", "failed", "weights", "runs"]

KINDS = get_args(Kind)

DESCRIPTIONS: dict[Kind, str] = {
    "checkpoints": "states that finished runs would resume from",
    "wandb": "W&B's files of runs that W&B has in full",
    "caches": "prepared data that no run uses, decisions of data.clean, caches of logs, temporary files",
    "failed": "failed runs",
    "weights": "weights of finished runs",
    "runs": "whole runs",
}
USUAL: tuple[Kind, ...] = ("checkpoints", "wandb", "caches", "failed")
"""Default kinds. Without these files, finished runs can still be evaluated, continued and reproduced."""
NOT_OF_RUNS: tuple[Kind, ...] = ("caches",)
"""Kinds that do not belong to single runs."""


@dataclass(frozen=True)
class Item:
    """Files and folders that are removed together.

    Attributes:
        paths: the files and folders.
        bytes: their size.
        run: the run whose lock is held during the removal.
        status: the status that the run must still have then.
        lock: a file that is locked during the removal.
    """

    kind: Kind
    paths: tuple[Path, ...]
    bytes: int
    run: Run | None = None
    status: Status | None = None
    lock: Path | None = None


@dataclass(frozen=True)
class Kept:
    """Name of something that is not removed, and the reason."""

    name: str
    why: str


@dataclass
class Plan:
    """Items to remove, and things that are kept with the reason."""

    items: list[Item] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def add(self, entry: "Item | Kept") -> None:
        """Add an item, or something that is kept."""
        if isinstance(entry, Item):
            self.items.append(entry)
        else:
            self.kept.append(entry)

    def within(self, other: "Plan") -> "Plan":
        """Return a plan of the items that ``other`` also has."""
        paths = {path for item in other.items for path in item.paths}
        return Plan([item for item in self.items if paths.issuperset(item.paths)], self.kept)


def references(sweeps: Path, records: Sequence[Record]) -> dict[Path, str]:
    """Return the resolved directories of runs that a sweep or another run needs, with the reason.

    Args:
        sweeps: the folder of sweeps.
        records: all runs, with the runs that they began with and the sweeps that they belong to.
    """
    reasons: dict[Path, str] = {}
    unreadable = {}
    for sweep in all_sweeps(sweeps):
        try:
            reason = _reason(sweep)
            paths = [] if reason is None else [job.path for job in sweep.jobs if job.path is not None]
        except (UserError, OSError, ValueError, TypeError, KeyError):
            unreadable[sweep.path.name] = f"belongs to {sweep.path.name}, a sweep that cannot be read"
            continue
        reasons |= {Path(path).resolve(): reason for path in paths if reason is not None}
    by_id = {record.id: record.run.path.resolve() for record in records}
    for record in records:
        if start := record.manifest.get("start"):
            parent = by_id.get(str(start.get("run")))
            reasons |= {} if parent is None else {parent: f"{record.run.path.name} began with its weights"}
        if (reason := unreadable.get(str(record.manifest.get("sweep")))) is not None:
            reasons[record.run.path.resolve()] = reason
    return reasons


def _reason(sweep: Sweep) -> str | None:
    """Return the reason why the runs of a sweep are needed; ``None`` if they are not."""
    name = sweep.path.name
    remove = f"rm -r {shlex.quote(str(sweep.path))}"
    if sweep.definition.get("study") is not None:
        return f"belongs to the study {name} (to give that up: {remove})"
    if (status := sweep.status) == "running":
        return f"belongs to the sweep {name}, which is running"
    if status != "finished":
        return f"belongs to the sweep {name}, which has not ended (lmlab sweep resume name={name}; or {remove})"
    return None


ABANDONED = 3600.0
"""Seconds without changes after which a temporary file is considered left over from a killed process."""

_PREPARED = re.compile(r"[^.].*-[0-9a-f]{16}")
_CLEANED = re.compile(r"cleaned-[0-9a-f]{16}")
_CURVES = re.compile(r"[^.].*-[0-9a-f]{12}")


def prepared(cache: Path, used: Collection[str] | None) -> Iterator[Item | Kept]:
    """Yield tokenised corpora in ``cache`` that no run uses.

    Args:
        used: fingerprints of the data of all runs; ``None`` if some are unknown.
    """
    for path in sorted(_entries(cache)):
        if not _PREPARED.fullmatch(path.name) or path.is_symlink() or not (path / "meta.json").is_file():
            continue
        if used is None:
            yield Kept(path.name, "a run that cannot be read may use it")
            continue
        if not _fingerprints(path) & {*used}:
            yield Item("caches", (path,), size_of([path]), lock=cache / f".{path.name}.lock")


def decisions(cache: Path) -> Iterator[Item]:
    """Yield the decisions of cleaning in ``cache``, which are needed only until the text is tokenised."""
    for path in sorted(_entries(cache)):
        if _CLEANED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield Item("caches", (path,), size_of([path]), lock=cache / f".{path.name}.lock")


def _fingerprints(folder: Path) -> set[str]:
    """Return the fingerprints by which runs name a prepared corpus; empty if it is damaged."""
    try:
        meta = read_json(folder / "meta.json")
        return {str(meta["fingerprint"]), streamed_fingerprint(meta)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # it will be prepared again when it is needed


def curves(folder: Path) -> Iterator[Item]:
    """Yield caches of logs in ``folder`` that earlier versions wrote."""
    for path in _entries(folder):
        if _CURVES.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield Item("caches", (path,), size_of([path]))


def leftovers(runs: Path, cache: Path, outputs: Path, used: Collection[str] = ()) -> Iterator[Item]:
    """Yield temporary files and folders of killed processes, except those of running runs.

    Args:
        used: fingerprints of the data of all runs; one that streams its text needs a corpus that is not complete.
    """
    deeper = [cache, cache / "downloads", outputs / "sweeps", outputs / "reports"]
    for folder in [runs, cache, *(inner for outer in deeper for inner in _folders(outer))]:
        for path in _entries(folder):
            lock = path.with_suffix(".lock")  # the lock of a corpus that is being prepared
            if _is_temporary(path) and (lock.exists() or _is_abandoned(path)) and not _fingerprints(path) & {*used}:
                yield Item("caches", (path,), size_of([path]), lock=lock if lock.exists() else None)
    for folder in _folders(runs):
        run = Run(folder)
        if not run.exists:
            continue
        paths = [path for path in _entries(run.path) if _is_temporary(path) and _is_abandoned(path)]
        # Only processes that hold the run's lock write there.
        inside = [] if run.checkpoints.is_symlink() else _entries(run.checkpoints)
        paths += [path for path in inside if _is_temporary(path)]
        if paths and not run.is_locked():
            yield Item("caches", tuple(paths), size_of(paths), run)


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and (path.suffix in (".tmp", ".part") or path.name.startswith(".writing-"))


def _is_abandoned(path: Path) -> bool:
    """Return whether a file, or the direct content of a folder, has not changed for ``ABANDONED`` seconds."""
    try:
        if path.name.endswith(DISCARDED):
            return True
        inside = [] if path.is_symlink() else _entries(path)
        newest = max(one.lstat().st_mtime for one in (path, *inside))
    except FileNotFoundError:  # another process has just renamed or removed it
        return False
    return time.time() - newest > ABANDONED


def _entries(folder: Path) -> list[Path]:
    """Return the content of a folder; empty if the folder does not exist or is a link."""
    return list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are neither hidden nor links."""
    paths = [path for path in _entries(folder) if not path.name.startswith(".")]
    return [path for path in paths if path.is_dir() and not path.is_symlink()]


USUALLY_KEPT = 2
"""Default number of checkpoints to resume from. Runs that keep another number are meant to be evaluated at them."""


def of_runs(
    records: Iterable[Record], kinds: Collection[Kind], folder: Path, needed: Mapping[Path, str], older: float
) -> Iterator[Item | Kept]:
    """Yield the items of some kinds that can be removed from runs, and things that are kept.

    Args:
        folder: the folder of runs; runs elsewhere are kept.
        needed: see :func:`lmlab.removal.references`.
        older: the least number of seconds since a run has changed.
    """
    real = folder.resolve()
    for record in records:
        path = record.run.path
        if path.is_symlink() or path.resolve().parent != real:
            yield Kept(path.name, f"lies outside {folder}" if not path.is_symlink() else "is a link")
        elif record.status == "running":
            yield Kept(path.name, f"is running ({lock.owner(path) or 'another process'})")
        elif time.time() - (path / "run.json").stat().st_mtime >= older:
            yield from _of_run(record, kinds, needed.get(path.resolve()))


def _of_run(record: Record, kinds: Collection[Kind], needed: str | None) -> Iterator[Item | Kept]:
    run, status = record.run, record.status
    of_failed = "failed" in kinds and status == "failed"
    if "runs" in kinds or of_failed:
        foreign = run.foreign()
        if needed is None and not foreign:
            yield Item("failed" if of_failed else "runs", (run.path,), size_of([run.path]), run, status)
            return
        yield Kept(run.path.name, needed or f"contains files that are not lmlab's ({', '.join(foreign[:3])})")
    states = checkpoints.to_resume_from(run.checkpoints) if _is_own_folder(run.checkpoints) else []
    option = "callbacks.checkpoint.keep"
    keep = at(record.config, option) if has(record.config, option) else USUALLY_KEPT  # null: all
    if "checkpoints" in kinds and status == "finished" and states:
        if keep == USUALLY_KEPT:
            yield from _item("checkpoints", states, record)
        elif "weights" not in kinds:
            yield Kept(run.path.name, f"keeps its checkpoints ({option}={written(keep)}; what=weights)")
    at_wandb = WandbRecord(run)
    artifacts = requested(record.config)
    complete = at_wandb.holds(artifacts)
    if "wandb" in kinds and at_wandb.exists:
        folders = [path for path in (run.path / "wandb", run.path / ".wandb") if _is_own_folder(path)]
        if folders and not complete:
            yield Kept(run.path.name, "its W&B files have not all been sent (lmlab wandb sync)")
        else:
            yield from _item("wandb", folders, record)
    if "weights" in kinds and status == "finished":
        files = (run.weights, run.best, run.path / "ema.safetensors")
        weights = [path for path in files if path.is_file() and not path.parent.is_symlink()]
        weights += states if keep != USUALLY_KEPT else []
        if weights and needed is not None:
            yield Kept(run.path.name, needed)
        elif weights and at_wandb.exists and "weights" in artifacts and not complete:
            yield Kept(run.path.name, "its weights have not been sent to W&B (lmlab wandb sync)")
        else:
            yield from _item("weights", weights, record)


def _item(kind: Kind, paths: list[Path], record: Record) -> Iterator[Item]:
    if paths:
        yield Item(kind, tuple(paths), size_of(paths), record.run, record.status)


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def find(
    folders: Folders,
    kinds: Collection[Kind],
    runs: str | list[str] | None = None,
    fits: Callable[[Record], bool] | None = None,
    older: float = 0.0,
) -> Plan:
    """Return the items that can be removed, and things that are kept.

    Args:
        runs: see :func:`lmlab.analysis.selection.named`.
        fits: selects among these runs; ``None``: all.
        older: the least number of seconds since a run or a file has changed.

    Raises:
        UserError: one of ``runs`` matches no run.
    """
    outputs, folder, cache = folders.outputs, folders.runs, folders.cache
    plan = Plan()
    records = named(folders, runs)
    for path, why in records.unreadable.items() if fits is None else ():
        plan.kept.append(Kept(path.name, _without(path, why)))
    if _leads_out(folder, outputs):
        plan.kept.append(Kept(str(folder), "is a link out of the outputs folder"))
    else:
        selected = [record for record in records.readable if fits is None or fits(record)]
        needed = references(folders.sweeps, records.readable)
        for entry in of_runs(selected, kinds, folder, needed, older):
            plan.add(entry)
    if "caches" in kinds:
        if not cache.resolve().is_relative_to(outputs.resolve()):
            plan.kept.append(Kept(str(cache), "lies outside the outputs folder: others may use it"))
        else:
            for item in _of_caches(folder, cache, outputs, records):
                if isinstance(item, Kept) or _is_old(item, older):
                    plan.add(item)
    return plan


def _of_caches(folder: Path, cache: Path, outputs: Path, records: Records) -> Iterable[Item | Kept]:
    fingerprints = {str(at(record.manifest, "data.fingerprint")) for record in records.readable}
    unknown = any((path / "run.json").exists() for path in records.unreadable)
    yield from prepared(cache, None if unknown else fingerprints)
    yield from decisions(cache)
    yield from curves(cache / "curves")
    yield from leftovers(folder, cache, outputs, fingerprints)


def _is_old(item: Item, older: float) -> bool:
    return all(time.time() - path.lstat().st_mtime >= older for path in item.paths)


def _leads_out(folder: Path, outputs: Path) -> bool:
    """Return whether a folder below ``outputs`` is a link to a place outside."""
    below = folder.absolute().is_relative_to(outputs.absolute())
    return below and not folder.resolve().is_relative_to(outputs.resolve())


def _without(path: Path, why: str) -> str:
    """Return a reason without the directory at its beginning."""
    return why.removeprefix(f"{path}").lstrip(":/ ")


def remove_items(items: Iterable[Item], removed: Callable[[Item], None] = lambda item: None) -> Iterator[Kept]:
    """Remove items and yield those that could not be removed, with the reason.

    Args:
        items: the items of a run must follow one another.
        removed: called with each removed item.
    """
    for _, group in groupby(enumerate(items), key=lambda pair: pair[1].run or pair[0]):
        together = [item for _, item in group]
        try:
            with _run_lock(together[0].run):
                for item in together:
                    if item.run is not None and item.status not in (None, item.run.status_recorded):
                        raise UserError(f"is {item.run.status_recorded} by now")
                    with _file_lock(item.lock):
                        for path in item.paths:
                            discard(path)
                    removed(item)
        except (UserError, OSError) as error:
            yield Kept(_name(together[0]), _line(error))


@contextmanager
def _run_lock(run: Run | None) -> Iterator[None]:
    """Hold the lock of a run. Raises ``UserError`` if another process holds it, or the run is gone."""
    if run is None:
        yield
        return
    if not run.exists:  # acquiring the lock would create the directory
        raise UserError("is gone already")
    held = run.try_lock()
    if held is None:
        raise UserError(f"is in use by {lock.owner(run.path) or 'another process'}")
    try:
        yield
    finally:
        held.release()


@contextmanager
def _file_lock(path: Path | None) -> Iterator[None]:
    """Hold the lock of a file that other processes lock. Raises ``UserError`` if one of them does."""
    if path is None:
        yield
        return
    from filelock import FileLock, Timeout

    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise UserError("is being prepared by another process") from None
    with held:
        yield


def _line(error: UserError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
    return str(error)


def _name(item: Item) -> str:
    return item.run.path.name if item.run is not None else item.paths[0].name
