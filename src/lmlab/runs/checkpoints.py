"""Checkpoints: folders that are written as a whole or not at all, with checksums that detect later changes.

``step-<8 digits>/`` holds ``state``, saved by the trainer (a file, or a folder of shards that all ranks write), the
best weights until then, and ``checksums.json``: the step, and the size and BLAKE2b digest of every file. A checkpoint
is written to a temporary folder beside its final place, flushed to disk and renamed. At least one earlier checkpoint
is kept, in case the newest one turns out to be damaged.

Training does not resume from the best weights, and two checkpoints may share one file of them. If that file is
damaged, it is dropped with a warning and the rest of the checkpoint is used.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.errors import UserError
from lmlab.runs.files import clear_leftovers, discard, errors_name, flush, place_again, write_json

STATE = "state"
BEST = "best.safetensors"
"""The weights of the best validation: beside the checkpoints those of the run, in each checkpoint those until then."""
CHECKSUMS = "checksums.json"
BY_EARLIER_VERSIONS = "last.ckpt"
"""The file of the only checkpoint that earlier versions kept."""


class Damaged(Exception):
    """A checkpoint differs from what was written; the message names the file and the difference."""


def saved(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in ``folder`` by step, oldest first, damaged ones included."""
    folders = {int(path.name[5:]): path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)}
    return dict(sorted(folders.items()))


def to_resume_from(folder: Path) -> list[Path]:
    """Return the files and folders in ``folder`` that only a resumed run needs; no process may be writing there."""
    earlier = folder / BY_EARLIER_VERSIONS
    return [*saved(folder).values(), *([earlier] if earlier.exists() else []), *sorted(folder.glob(".*.tmp"))]


def place(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of ``step``."""
    return folder / f"step-{step:08d}"


def temporary(folder: Path, step: int) -> Path:
    """Return the temporary path to which all ranks write the checkpoint of ``step``."""
    return folder / f".step-{step:08d}.tmp"


def begin(folder: Path, step: int) -> None:
    """Create the empty temporary folder for ``step``; called on one rank, before any rank saves."""
    with errors_name(place(folder, step)):
        folder.mkdir(exist_ok=True)
        clear_leftovers(folder)
        temporary(folder, step).mkdir()


def complete(folder: Path, step: int, previous: int, validated_step: int, keep: int | None = 2) -> None:
    """Turn the temporary folder into the checkpoint of ``step``; called on one rank, after all ranks have saved.

    Args:
        previous: step of the previous checkpoint. Checkpoints after it are removed: they were damaged, or the run would
            have resumed from them.
        validated_step: newest step whose validation is part of the state.
        keep: number of newest checkpoints to keep, including this one; ``None``: all.
    """
    written = temporary(folder, step)
    with errors_name(place(folder, step)):
        if (folder / BEST).exists():
            place_again(folder / BEST, written / BEST)
        flush(written)
        files = checksums(written)
        about = {"step": step, "validated_step": validated_step, "best": files.pop(BEST, None), "files": files}
        write_json(written / CHECKSUMS, about | {"blake2b": _digest_of(about)})
        discard(place(folder, step))
        written.rename(place(folder, step))
        flush(folder, below=False)
    for other, path in saved(folder).items():
        if previous < other != step:
            discard(path)
    remove_old(folder, keep)


def remove_old(folder: Path, keep: int | None) -> None:
    """Remove all but the ``keep`` newest checkpoints; ``None``: none. Called on one rank."""
    if keep is not None:
        for path in [*saved(folder).values()][:-keep]:
            discard(path)


def restore_best(folder: Path, step: int | None, warn: Callable[[str], None]) -> None:
    """Restore the best weights that a good checkpoint was written with, if it had any; called on one rank.

    Later weights may belong to training that is repeated with other data.

    Args:
        step: step of the checkpoint; ``None``: training begins.
        warn: called with a message if the weights are damaged.
    """
    best, recorded = folder / BEST, None
    if step is not None:
        kept = place(folder, step) / BEST
        about = json.loads((kept.parent / CHECKSUMS).read_text(encoding="utf-8"))
        if "best" not in about:  # written by an earlier version, which kept them only beside the checkpoints
            return
        recorded = about["best"]
        for path in (kept, best):
            if recorded is not None and path.exists() and checksum(path) == recorded:
                place_again(path, best)
                return
    if recorded is not None:
        warn(f"{best}: the best weights so far are damaged and dropped; the next validation sets new ones")
    best.unlink(missing_ok=True)


def checksums(folder: Path, but: Collection[str] = (CHECKSUMS,)) -> dict[str, dict[str, int | str]]:
    """Return the size in bytes and digest of every file below ``folder``, except those in ``but``, by relative path."""
    left_out = [folder / name for name in but]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in left_out)
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(checksum, files))
    return {str(path.relative_to(folder)): one for path, one in zip(files, sums, strict=True)}


def checksum(path: Path) -> dict[str, int | str]:
    """Return the size in bytes and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return {"bytes": path.stat().st_size, "blake2b": digest.hexdigest()}


def _digest_of(record: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=32).hexdigest()


def verify(path: Path) -> None:
    """Compare a checkpoint with its checksums, reading every file once. Raises ``Damaged``."""
    try:
        recorded = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        step, sizes = recorded["step"], {name: file["bytes"] for name, file in recorded["files"].items()}
        own = recorded.pop("blake2b")
    except FileNotFoundError:
        raise Damaged(f"{CHECKSUMS} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{CHECKSUMS} cannot be read") from error
    if own != _digest_of(recorded):
        raise Damaged(f"the content of {CHECKSUMS} has changed")
    if path != place(path.parent, step) or not sizes:
        raise Damaged(f"{CHECKSUMS} belongs to another checkpoint")
    try:
        for name, size in sizes.items():
            if not (path / name).is_file():
                raise Damaged(f"{name} is missing")
            if (path / name).stat().st_size != size:
                raise Damaged(f"{name} has {(path / name).stat().st_size} bytes instead of {size}")
        sums = checksums(path, but=(CHECKSUMS, BEST))
    except OSError as error:
        raise Damaged(f"{error.filename or path} cannot be read ({error.strerror})") from error
    for name, file in recorded["files"].items():
        if sums[name] != file:
            raise Damaged(f"the content of {name} has changed")


class Good(NamedTuple):
    """A state to resume from."""

    step: int
    validated_step: int
    state: Path


def newest_good(
    folder: Path, warn: Callable[[str], None], check: Callable[[Path], None] = lambda state: None
) -> Good | None:
    """Return the newest undamaged state; ``None`` if there is no checkpoint at all.

    The result depends on the files alone, so all ranks agree.

    Args:
        warn: called with a message for every damaged checkpoint that is skipped.
        check: called with a state whose checksums match; raises ``Damaged`` if it cannot be resumed from.

    Raises:
        UserError: all checkpoints are damaged.
    """
    damaged = []
    for step, path in reversed(saved(folder).items()):
        try:
            verify(path)
            check(path / STATE)
        except Damaged as error:
            damaged.append(f"{path.name} is damaged: {error}")
            continue
        for line in damaged:
            warn(f"{folder}: {line}; resuming from {path.name} instead")
        return Good(step, json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))["validated_step"], path / STATE)
    if damaged:
        raise UserError(
            f"{folder}: no checkpoint to resume from, {'; '.join(damaged)}; delete it to train this run from scratch"
        )
    return None
