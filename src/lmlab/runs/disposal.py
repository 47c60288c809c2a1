"""Deleting files and folders such that nothing half deleted looks whole, and what that frees."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

DISCARDED = ".removed.tmp"
"""End of the name of a hidden folder whose content was being deleted when the process was killed."""


def discard(path: Path) -> None:
    """Delete a file, a link or a folder at once: a process that is killed meanwhile leaves nothing of that name.

    It may leave a hidden folder beside ``path``, whose name ends with ``DISCARDED``. What is hidden itself, a temporary
    file, is deleted as it is. What is not there is left out.

    Raises:
        OSError: it cannot be deleted; ``path`` is where it was, or in such a folder.
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
    """Return how many bytes deleting files and folders frees: links are not followed, shared files count at the end.

    A file with several names counts when all of them are below ``paths``.
    """
    names: dict[tuple[int, int], int] = {}
    total = 0
    for path in paths:
        for found in _states(path):
            key = found.st_dev, found.st_ino
            names[key] = names.get(key, 0) + 1
            if names[key] == found.st_nlink:
                total += found.st_size
    return total


def _states(path: Path) -> Iterator[os.stat_result]:
    """Yield the state of a file or link, or of all of them below a folder. What is gone meanwhile is left out."""
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
