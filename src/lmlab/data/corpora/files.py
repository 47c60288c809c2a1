"""Reading text files in chunks, and a cache of the checksums of unchanged files."""

import codecs
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.errors import UserError
from lmlab.runs.files import write_text

_CHUNK = 1 << 20  # bytes that are read at a time
_LOOKED_AT = 8192  # bytes in which a NUL marks a file as binary: the rule of git and grep
_SETTLED = 2.0  # seconds after a change within which another change may have the same timestamp

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class TextFile:
    """A file of text.

    Attributes:
        encoding: encoding of the bytes after a byte order mark.
        mark: length of the byte order mark in bytes.
        characters: number of characters.
        sha256: the checksum of the text as UTF-8, in hexadecimal.
    """

    path: Path
    encoding: str
    mark: int
    characters: int
    sha256: str

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]:
        """Yield the characters from ``first`` to ``end`` in chunks, line ends as they are."""
        end = self.characters if end is None else end
        place = 0
        for text in _decoded(self.path, self.encoding, self.mark):
            if chunk := text[max(0, first - place) : max(0, end - place)]:
                yield chunk
            place += len(text)
            if place >= end:
                return

    def line_end(self, index: int) -> int:
        """Return the index after the line that ``index`` lies in, or ``index`` if the rest is one line."""
        if index == 0:
            return 0
        place = index - 1
        for chunk in self.read(place):
            if (end := chunk.find("\n")) >= 0:
                return place + end + 1 if place + end + 1 < self.characters else index
            place += len(chunk)
        return index


@dataclass(frozen=True)
class NoText:
    """The reason why a file is not text, in a word or two and as a message."""

    reason: str
    message: str


class Inspector:
    """Reads each file once for its encoding, length and checksum; unchanged files are not read again.

    A file is unchanged if its path, size, inode and time of change equal those that :meth:`save` wrote to a folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "files.json"
        self._seen: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._seen = content if isinstance(content, dict) else {}
        self._new = False

    def inspect(self, path: Path) -> TextFile | NoText:
        """Return the description of a file. Raises ``UserError`` if it cannot be read."""
        try:
            state = path.stat()
            key, stamp = str(path.absolute()), [state.st_size, state.st_ino, state.st_mtime_ns]
            recorded = self._seen.get(key)
            if recorded is not None and recorded[0] == stamp:
                return _from_record(path, recorded[1])
            content = _inspect(path)
        except OSError as error:
            raise UserError(f"data.paths: {path} cannot be read ({error.strerror})") from error
        if time.time() - state.st_mtime > _SETTLED:
            self._seen[key] = [stamp, {name: value for name, value in vars(content).items() if name != "path"}]
            self._new = True
        return content

    def remember(self, key: str, compute: Callable[[], str]) -> str:
        """Return the saved value for ``key``, a checksum of all inputs of ``compute``, or compute and save it."""
        if key not in self._seen:
            self._seen[key] = compute()
            self._new = True
            self.save()
        return str(self._seen[key])

    def save(self) -> None:
        """Write the results of inspections, if there is a writable folder."""
        if self._new and self._path.parent.is_dir():
            with suppress(OSError):
                write_text(self._path, json.dumps(self._seen))


def _from_record(path: Path, record: Mapping[str, Any]) -> TextFile | NoText:
    return NoText(**record) if "reason" in record else TextFile(path, **record)


def _inspect(path: Path) -> TextFile | NoText:
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if beginning.startswith(mark)), (b"", "utf-8"))
    if len(beginning) == len(mark):
        return NoText("empty", f"{path} is empty")
    if encoding == "utf-8" and (place := beginning.find(b"\0")) >= 0:
        return NoText(
            "binary",
            f"{path} is binary, or UTF-16 without a byte order mark (a NUL byte at offset {place}); convert it to "
            "UTF-8 first",
        )
    digest, characters = hashlib.sha256(), 0
    try:
        for text in _decoded(path, encoding, len(mark)):
            digest.update(text.encode())
            characters += len(text)
    except _Undecodable as error:
        name = encoding[:-3].upper() if encoding != "utf-8" else "UTF-8"
        return NoText(f"not {name}", f"{path} is not {name}: {error}; convert it to UTF-8 first")
    return TextFile(path, encoding, len(mark), characters, digest.hexdigest())


class _Undecodable(Exception):
    """Bytes that are not valid in the encoding; the message names them."""


def _decoded(path: Path, encoding: str, mark: int) -> Iterator[str]:
    """Yield the text of a file in chunks, without its first ``mark`` bytes."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        place = file.seek(mark)
        while True:
            content = file.read(_CHUNK)
            begin = place - len(decoder.getstate()[0])  # a character may be cut by the end of a chunk
            place += len(content)
            try:
                text = decoder.decode(content, final=not content)
            except UnicodeDecodeError as error:
                value = f"byte 0x{error.object[error.start]:02x} at offset {begin + error.start} ({error.reason})"
                raise _Undecodable(value) from error
            if text:
                yield text
            if not content:
                return
