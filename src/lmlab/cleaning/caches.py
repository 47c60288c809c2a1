"""Unused caches of an outputs folder, and temporary files of killed processes."""

import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from lmlab.cleaning.item import Item, Kept
from lmlab.runs.disposal import DISCARDED, size_of
from lmlab.runs.files import read_json
from lmlab.runs.run import Run

ABANDONED = 3600.0
"""Seconds after which a temporary file that nobody has written to is one of a killed process."""

_PREPARED = re.compile(r"[^.].*-[0-9a-f]{16}")
_CURVES = re.compile(r"[^.].*-[0-9a-f]{12}")


def prepared(cache: Path, used: Collection[str] | None) -> Iterator[Item | Kept]:
    """Yield tokenised corpora in ``cache`` that are not ``used``.

    Args:
        used: fingerprints of the data of all runs; ``None``: not all are known.
    """
    for path in sorted(_entries(cache)):
        if not _PREPARED.fullmatch(path.name) or path.is_symlink() or not (path / "meta.json").is_file():
            continue
        if used is None:
            yield Kept(path.name, "a run that cannot be read may use it")
            continue
        try:
            fingerprint = read_json(path / "meta.json")["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            fingerprint = None  # damaged: it is prepared again when it is needed
        if fingerprint not in used:
            yield Item("caches", (path,), size_of([path]), lock=cache / f".{path.name}.lock")


def curves(folder: Path) -> Iterator[Item]:
    """Yield what earlier versions kept of logs in ``folder``."""
    for path in _entries(folder):
        if _CURVES.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield Item("caches", (path,), size_of([path]))


def leftovers(runs: Path, cache: Path, outputs: Path) -> Iterator[Item]:
    """Yield temporary files and folders of processes that were killed, except those of runs that are computed now."""
    deeper = [cache, cache / "downloads", outputs / "sweeps", outputs / "reports"]
    for folder in [runs, cache, *(inner for outer in deeper for inner in _folders(outer))]:
        for path in _entries(folder):
            lock = path.with_suffix(".lock")  # of a corpus that is prepared
            if _is_temporary(path) and (lock.exists() or _is_abandoned(path)):
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
    """Return whether nobody has written to a file, or directly in a folder, for a while."""
    try:
        if path.name.endswith(DISCARDED):
            return True
        inside = [] if path.is_symlink() else _entries(path)
        newest = max(one.lstat().st_mtime for one in (path, *inside))
    except FileNotFoundError:  # it was one that somebody writes
        return False
    return time.time() - newest > ABANDONED


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder; nothing where there is none, or where it is a link."""
    return list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that are neither hidden nor links."""
    paths = [path for path in _entries(folder) if not path.name.startswith(".")]
    return [path for path in paths if path.is_dir() and not path.is_symlink()]
