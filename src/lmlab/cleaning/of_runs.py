"""Removable parts of runs, and whole runs."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from lmlab.analysis.records import Record
from lmlab.cleaning.item import Item, Kept, Kind
from lmlab.overrides import written
from lmlab.runs import checkpoints, lock
from lmlab.runs.disposal import size_of
from lmlab.wandb.artifacts import Extras
from lmlab.wandb.mirror import WandbRecord

USUALLY_KEPT = 2
"""Checkpoints that a run keeps to resume from. One that keeps another number is to be evaluated at them."""


def of_runs(
    records: Iterable[Record], kinds: Collection[Kind], folder: Path, needed: Mapping[Path, str], older: float
) -> Iterator[Item | Kept]:
    """Yield what of some kinds can be removed of runs, and what is left alone.

    Args:
        folder: the folder of runs; whatever lies elsewhere is left alone.
        needed: see :func:`lmlab.cleaning.references.references`.
        older: seconds for which a run has not changed.
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
        yield Kept(run.path.name, needed or f"holds what is not lmlab's ({', '.join(foreign[:3])})")
    states = checkpoints.to_resume_from(run.checkpoints) if _is_own_folder(run.checkpoints) else []
    keep = ((record.config.get("callbacks") or {}).get("checkpoint") or {}).get("keep", USUALLY_KEPT)
    if "checkpoints" in kinds and status == "finished" and states:
        if keep == USUALLY_KEPT:
            yield from _item("checkpoints", states, record)
        elif "weights" not in kinds:
            yield Kept(
                run.path.name, f"keeps its checkpoints (callbacks.checkpoint.keep={written(keep)}; what=weights)"
            )
    at_wandb = WandbRecord(run)
    extras = Extras.of(record.config)
    complete = at_wandb.holds(extras)
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
        elif weights and at_wandb.exists and "weights" in extras.artifacts and not complete:
            yield Kept(run.path.name, "its weights have not been sent to W&B (lmlab wandb sync)")
        else:
            yield from _item("weights", weights, record)


def _item(kind: Kind, paths: list[Path], record: Record) -> Iterator[Item]:
    if paths:
        yield Item(kind, tuple(paths), size_of(paths), record.run, record.status)


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
