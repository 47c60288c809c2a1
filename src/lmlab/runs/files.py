"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed. And JSON."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then move the flushed file or folder into place.

    A folder must not be there yet. An ``OSError`` names ``path``.
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


def place_again(source: Path, path: Path) -> None:
    """Let ``path`` be the same file as ``source``, as it is now; a copy where the file system has no links.

    Files of runs are replaced as a whole, never changed, so that each of the two keeps its content.
    """

    if path.exists() and path.samefile(source):  # to rename one name of a file to another of its names does nothing
        return

    def link(temporary: Path) -> None:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

    write_whole(path, link)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 so that a reader sees either the old content or all of the new."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_whole(path, write)


NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The strings that stand for the numbers that JSON does not have."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any, indent: int | None = None) -> str:
    """Return ``value`` as JSON that every parser reads: NaN and infinities as strings (see :func:`numbers`)."""
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_representable(value), indent=indent, ensure_ascii=False, allow_nan=False)
    # Half a pair has no UTF-8: a name of a file that is none may hold one.
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _representable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _representable(part) for key, part in value.items()}
    return [_representable(part) for part in value] if isinstance(value, (list, tuple)) else value


def numbers(value: Any) -> Any:
    """Return measurements as they were before :func:`dumps`: ``"NaN"`` and the like are floats again, at any depth."""
    if isinstance(value, str):
        return NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items()}
    return [numbers(part) for part in value] if isinstance(value, list) else value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole."""
    write_text(path, dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of JSON. Earlier versions wrote NaN and infinities as numbers, which are read as such.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as lines of JSON, whole."""
    write_text(path, "".join(dumps(row) + "\n" for row in rows))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append ``row`` as a line of JSON. An ``OSError`` names ``path``."""
    with errors_name(path), path.open("a", encoding="utf-8") as file:
        file.write(dumps(row) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line that was cut short (the writer was killed) is left out."""
    if not path.exists():
        return []
    # As bytes: a text may hold other ends of lines, and the cut may lie within a character.
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def flush(path: Path, below: bool = True) -> None:
    """Wait until a file, or a folder and (``below``) all that is in it, is on disk. An ``OSError`` names it."""
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
    """Delete a file or a folder, if it is there and can be deleted."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def clear_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left in ``folder``; nobody may be writing there now."""
    for leftover in folder.glob(".*.tmp"):
        remove(leftover)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let what the system refuses below be an ``OSError`` that names ``path``, whichever library was told of it."""
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
    """The refusal of the system that ``error`` stems from, if any."""
    seen: list[BaseException] = []  # an error that was raised anew may stand behind what it stems from
    while error is not None and not any(error is one for one in seen):
        seen.append(error)
        if isinstance(error, OSError) and error.errno:
            return error
        number = re.search(r"\(os error (\d+)\)", str(error))  # how libraries written in Rust tell of it
        if number:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        for failure, _ in getattr(error, "failures", {}).values():  # of a distributed checkpoint, by rank
            if (found := system_error(failure)) is not None:
                return found
        error = error.__cause__ or error.__context__
    return None


class Tail:
    """The rows of steps in a file of JSON lines as they come, each once, also when a resumed run replaces the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._steps: dict[frozenset[str], int] = {}
        """The last step of each kind of row: one of training and one of validation may have the same step."""
        self._offset = 0
        self._file: int | None = None

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows that have been completed since the last call."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._file or found.st_size < self._offset:
                    self._offset = 0
                self._file = found.st_ino
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
