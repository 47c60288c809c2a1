"""Files that are either complete or absent: written beside their place, flushed to disk, then renamed. Also JSON."""

import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

Content = TypeVar("Content")


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename the flushed file or folder to ``path``.

    A folder must not exist yet. An ``OSError`` names ``path``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with errors_name(path):
        try:
            write(temporary)
            flush(temporary)
            temporary.replace(path)
        except BaseException:
            remove(temporary)
            raise
        flush(path.parent, below=False)


def whole_folder(
    folder: Path,
    read: Callable[[Path], Content | None],
    fill: Callable[[Path], None],
    resumable: bool = False,
) -> Content:
    """Return what ``read`` returns for ``folder``, after ``fill`` has written it if it is absent or damaged.

    Any number of processes may call this at once: one writes, the others wait for it. It writes a temporary folder,
    which is renamed when it is complete and on disk.

    Args:
        read: returns ``None`` if the folder is absent or damaged.
        fill: called with a new, empty folder.
        resumable: ``fill`` makes the folder itself, finds there what an earlier call has left, and decides what a
            failed one leaves.

    Raises:
        OSError: the folder cannot be written.
    """
    if (content := read(folder)) is not None:
        return content
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # the system releases it even when the process is killed
        if (content := read(folder)) is not None:
            return content
        try:
            if not resumable:
                remove(temporary)
                temporary.mkdir()
            fill(temporary)
        except BaseException:
            if not resumable:
                remove(temporary)
            raise
        flush(temporary)
        remove(folder)
        temporary.rename(folder)
        flush(folder.parent, below=False)
        content = read(folder)
        assert content is not None
        return content


def place_again(source: Path, path: Path) -> None:
    """Make ``path`` a hard link to ``source``, or a copy on file systems without links.

    Files of runs are replaced as a whole and never modified, so each of the two keeps its content.
    """
    if path.exists() and path.samefile(source):  # renaming a hard link to another link of the same file does nothing
        return

    def link(temporary: Path) -> None:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

    write_whole(path, link)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically: readers see either the old or the new content."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_whole(path, write)


NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Strings that represent the numbers that JSON does not have."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any, indent: int | None = None) -> str:
    """Return ``value`` as standard JSON, with NaN and infinities as strings (see :func:`numbers`)."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_representable(value), indent=indent, ensure_ascii=False, allow_nan=False)
    # A lone surrogate has no UTF-8; file names that are not valid UTF-8 may contain one.
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _representable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _representable(part) for key, part in value.items()}
    return [_representable(part) for part in value] if isinstance(value, (list, tuple)) else value


def numbers(value: Any) -> Any:
    """Return measurements as they were before :func:`dumps`: strings like ``"NaN"`` become floats, at any depth."""
    if isinstance(value, str):
        return NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items()}
    return [numbers(part) for part in value] if isinstance(value, list) else value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. NaN and infinities that earlier versions wrote as numbers are accepted.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as lines of JSON, atomically."""
    write_text(path, "".join(dumps(row) + "\n" for row in rows))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append ``row`` as a line of JSON. An ``OSError`` names ``path``."""
    with errors_name(path), path.open("a", encoding="utf-8") as file:
        file.write(dumps(row) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; an incomplete last line (the writer was killed) is skipped."""
    if not path.exists():
        return []
    # As bytes, because text may contain other line separators, and the cut may lie within a character.
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def flush(path: Path, below: bool = True) -> None:
    """Flush a file, or a folder and (``below``) its whole content, to disk. An ``OSError`` names the path."""
    for part in [*(path.rglob("*") if below and path.is_dir() else ()), path]:
        with errors_name(part):
            descriptor = os.open(part, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError as error:  # some network drives cannot flush folders
                if error.errno != errno.EINVAL:
                    raise
            finally:
                os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file or a folder if possible; errors are ignored."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers in ``folder``; no process may be writing there."""
    for leftover in folder.glob(".*.tmp"):
        remove(leftover)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Convert errors of the operating system, from any library, to an ``OSError`` that names ``path``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        failure = system_error(error)
        if failure is None:
            raise
        raise OSError(failure.errno, os.strerror(failure.errno or 0), str(path)) from error


def system_error(error: BaseException | None) -> OSError | None:
    """Return the operating system error that caused ``error``; ``None`` if there is none."""
    seen: list[BaseException] = []  # re-raised errors can form a cycle of causes
    while error is not None and not any(error is one for one in seen):
        seen.append(error)
        if isinstance(error, OSError) and error.errno:
            return error
        number = re.search(r"\(os error (\d+)\)", str(error))  # the format of libraries written in Rust
        if number:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        for failure, _ in getattr(error, "failures", {}).values():  # of a distributed checkpoint, by rank
            if (cause := system_error(failure)) is not None:
                return cause
        error = error.__cause__ or error.__context__
    return None


class Tail:
    """The rows of a growing file of JSON lines, each returned once, even if a resumed run replaces the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: dict[frozenset[str], int] = {}
        """Last step of each kind of row: a row of training and one of validation may have the same step."""
        self._offset = 0
        self._file: int | None = None

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows that were completed since the last call."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._file or state.st_size < self._offset:
                    self._offset = 0
                self._file = state.st_ino
                file.seek(self._offset)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._offset += len(whole) + len(newline)
        rows = []
        for row in map(numbers, map(json.loads, whole.split(b"\n") if whole else ())):
            kind = frozenset(row)
            if row["step"] > self._steps.get(kind, -1):
                self._steps[kind] = row["step"]
                rows.append(row)
        return rows


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
