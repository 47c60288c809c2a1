"""Delete files and folders so that partial deletions are never mistaken for complete files, and measure freed space."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

DISCARDED = ".removed.tmp"
"""Suffix of a hidden folder whose content was being deleted when the process was killed."""


def discard(path: Path) -> None:
    """Delete a file, a link or a folder atomically: a process killed in between leaves nothing under that name.

    A hidden folder beside ``path`` whose name ends with ``DISCARDED`` may remain. Hidden paths, which are temporary,
    are deleted directly. Missing paths are ignored.

    Raises:
        OSError: the deletion failed; the content is still at ``path`` or in such a hidden folder.
    """
    if path.name.startswith("."):
        _delete(path)
        return
    if not path.exists() and not path.is_symlink():
        return
    hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=DISCARDED, dir=path.parent))
    try:
        path.rename(hidden / path.name)
    except FileNotFoundError:
        hidden.rmdir()
    except OSError:
        hidden.rmdir()
        raise
    else:
        _delete(hidden)


def _delete(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def size_of(paths: Iterable[Path]) -> int:
    """Return the number of bytes that deleting files and folders frees, without following links.

    A file with several names counts only if all of them are below ``paths``.
    """
    names: dict[tuple[int, int], int] = {}
    total = 0
    for path in paths:
        for state in _states(path):
            key = state.st_dev, state.st_ino
            names[key] = names.get(key, 0) + 1
            if names[key] == state.st_nlink:
                total += state.st_size
    return total


def _states(path: Path) -> Iterator[os.stat_result]:
    """Yield the state of a file or link, or of all of them below a folder; skip those deleted in the meantime."""
    with suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            yield path.lstat()
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _states(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False)
