"""Checkpoints: folders that are whole or absent, and know when something in them has changed since.

``step-<8 digits>/`` holds ``state``, which is what the trainer saved (a file, or a folder of shards that all ranks
write), the best weights until then, and ``checksums.json``: the step, and the size and BLAKE2b digest of every file. A
checkpoint is written to a temporary folder beside its place, flushed to disk and renamed. At least the one before it
is kept, to go on from should the newest one turn out damaged.

Nobody goes on from the best weights, and two checkpoints may share one file of them: where it is damaged, it is dropped
with a warning and the checkpoint is as good as before.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.errors import UserError
from lmlab.runs.disposal import discard
from lmlab.runs.files import clear_leftovers, errors_name, flush, place_again, write_json

STATE = "state"
BEST = "best.safetensors"
"""The weights of the best validation: beside the checkpoints, and in each of them those that were the best then."""
CHECKSUMS = "checksums.json"
BY_EARLIER_VERSIONS = "last.ckpt"
"""The file of the one checkpoint that earlier versions kept."""


class Damaged(Exception):
    """A checkpoint is not what was written; the message names the file and says what is wrong with it."""


def saved(folder: Path) -> dict[int, Path]:
    """The checkpoints in ``folder`` by step, oldest first, whether or not they are damaged."""
    found = {int(path.name[5:]): path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)}
    return dict(sorted(found.items()))


def to_resume_from(folder: Path) -> list[Path]:
    """The files and folders in ``folder`` that only a run that goes on reads; nobody may be writing there now."""
    before = folder / BY_EARLIER_VERSIONS
    return [*saved(folder).values(), *([before] if before.exists() else []), *sorted(folder.glob(".*.tmp"))]


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` lies."""
    return folder / f"step-{step:08d}"


def temporary(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` is being written: the same for all ranks."""
    return folder / f".step-{step:08d}.tmp"


def begin(folder: Path, step: int) -> None:
    """Make the empty temporary folder for ``step``; on one rank, before any of them saves."""
    with errors_name(place(folder, step)):
        folder.mkdir(exist_ok=True)
        clear_leftovers(folder)
        temporary(folder, step).mkdir()


def complete(folder: Path, step: int, previous: int, validated_step: int, keep: int | None = 2) -> None:
    """Make what lies in the temporary folder the checkpoint of ``step``; on one rank, after all of them have saved.

    Args:
        previous: the step of the checkpoint before. Those after it are removed: they were damaged, or the run would
            have gone on from them.
        validated_step: the newest step whose validation is part of the state.
        keep: how many of the newest are kept, this one among them; ``None``: all.
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
    states = saved(folder)
    usable = [other for other in states if other <= previous or other == step]
    kept = usable if keep is None else usable[-keep:]
    for other, path in states.items():
        if other not in kept:
            discard(path)


def restore_best(folder: Path, step: int | None, warn: Callable[[str], None]) -> None:
    """Let the best weights be those of when a good checkpoint was written, if there were any then; on one rank.

    What came after it may be trained again with other data.

    Args:
        step: of the checkpoint; ``None``: training begins.
        warn: called with a line if they are damaged.
    """
    best, recorded = folder / BEST, None
    if step is not None:
        kept = place(folder, step) / BEST
        about = json.loads((kept.parent / CHECKSUMS).read_text(encoding="utf-8"))
        if "best" not in about:  # by an earlier version, which kept them beside the checkpoints alone
            return
        recorded = about["best"]
        for path in (kept, best):
            if recorded is not None and path.exists() and checksum(path) == recorded:
                place_again(path, best)
                return
    if recorded is not None:
        warn(f"{best}: the best weights so far are damaged; there are none until a validation is better")
    best.unlink(missing_ok=True)


def checksums(folder: Path, but: Collection[str] = (CHECKSUMS,)) -> dict[str, dict[str, int | str]]:
    """Size in bytes and digest of every file below ``folder`` but those named, by relative path."""
    left_out = [folder / name for name in but]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in left_out)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(checksum, files))
    return {str(path.relative_to(folder)): one for path, one in zip(files, found, strict=True)}


def checksum(path: Path) -> dict[str, int | str]:
    """Size in bytes and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return {"bytes": path.stat().st_size, "blake2b": digest.hexdigest()}


def _digest_of(record: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=32).hexdigest()


def verify(path: Path) -> None:
    """Compare a checkpoint with its checksums; every file is read once. Raises ``Damaged``."""
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
        raise Damaged(f"{CHECKSUMS} is that of another checkpoint")
    try:
        for name, size in sizes.items():
            if not (path / name).is_file():
                raise Damaged(f"{name} is missing")
            if (path / name).stat().st_size != size:
                raise Damaged(f"{name} has {(path / name).stat().st_size} bytes instead of {size}")
        found = checksums(path, but=(CHECKSUMS, BEST))
    except OSError as error:
        raise Damaged(f"{error.filename or path} cannot be read ({error.strerror})") from error
    for name, file in recorded["files"].items():
        if found[name] != file:
            raise Damaged(f"the content of {name} has changed")


class Good(NamedTuple):
    """A state to go on from."""

    step: int
    validated_step: int
    state: Path


def newest_good(
    folder: Path, warn: Callable[[str], None], check: Callable[[Path], None] = lambda state: None
) -> Good | None:
    """Return the newest state that is as it was written; ``None`` if there is no checkpoint at all.

    It depends on the files alone, so that all ranks come to the same answer.

    Args:
        warn: called with a line for every damaged checkpoint that is passed over.
        check: called with a state that is as it was written; raises ``Damaged`` if it is not to be gone on from.

    Raises:
        UserError: there are checkpoints, but all of them are damaged.
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
            warn(f"{folder}: {line}; going on from {path.name} instead")
        return Good(step, json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))["validated_step"], path / STATE)
    if damaged:
        raise UserError(
            f"{folder}: no checkpoint to go on from, {'; '.join(damaged)}; delete it to train this run anew"
        )
    return None
