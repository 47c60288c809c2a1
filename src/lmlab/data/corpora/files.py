"""Reading files of text in chunks: unpacked, decoded, and refused if they change meanwhile."""

import bz2
import codecs
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from lmlab.data.text_parts import line_end, part_of
from lmlab.errors import UserError

_CHUNK = 1 << 20  # bytes that are read at a time
_PACKED = range(64, 1 << 16)  # bytes of zstd that are unpacked at a time: few of text that is repeated very often
_LOOKED_AT = 8192  # bytes in which a NUL marks a file as binary: the rule of git and grep
_WINDOW = 1 << 31  # bytes: the largest window of zstd, which `zstd --long=31` uses

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
Stamp = tuple[int, int, int]
"""Size, inode and time of change of a file; a file with an equal stamp has not changed."""


class Unreadable(Exception):
    """A file that is not text, or damaged.

    Attributes:
        reason: the reason in a word or two, to be counted.
        message: the reason as a sentence that names the file.
        damaged: the file is damaged or has a malformed record; otherwise it is of another kind.
    """

    def __init__(self, reason: str, message: str, damaged: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.damaged = damaged


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file.

    Attributes:
        name: encoding of the bytes after a byte order mark.
        mark: length of the byte order mark in bytes.
    """

    name: str
    mark: int


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file. Raises ``OSError``."""
    state = path.stat()
    return state.st_size, state.st_ino, state.st_mtime_ns


@contextmanager
def unchanged(path: Path, stamp: Stamp) -> Iterator[None]:
    """Refuse a file that has changed since it had ``stamp``, before and after it is read.

    Raises:
        UserError: it has changed, or it cannot be read any more.
    """
    try:
        _check(path, stamp)
        yield
    except Unreadable as error:
        _check(path, stamp)  # the likelier reason
        raise UserError(f"data.paths: {error.message}") from error
    except OSError as error:
        raise UserError(f"data.paths: {path} cannot be read any more ({error.strerror or error})") from error
    _check(path, stamp)


def _check(path: Path, stamp: Stamp) -> None:
    try:
        now = stamp_of(path)
    except FileNotFoundError:
        raise UserError(f"data.paths: {path} was removed while the text was read") from None
    if now != stamp:
        raise UserError(f"data.paths: {path} changed while the text was read; repeat the command when it is complete")


def ending_of(path: Path) -> str:
    """Return the ending of a file's name in lower case, apart from that of a compression: ``.jsonl`` of a.jsonl.gz."""
    return (Path(path.stem) if is_packed(path) else path).suffix.lower()


def is_packed(path: Path) -> bool:
    """Return whether a file is unpacked while it is read."""
    return path.suffix.lower() in _UNPACKED


def _read_zstd(file: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise UserError(f"data.paths: {path} needs the package zstandard (pip install 'lmlab[corpora]')") from None
    frames = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    frame, whole = frames.decompressobj(), True
    size = _PACKED.start
    try:
        while packed := file.read(size):
            while packed:
                if frame.eof:
                    frame = frames.decompressobj()
                content = frame.decompress(packed)
                yield content
                packed, whole = frame.unused_data, frame.eof
                size = max(size // 2, _PACKED.start) if len(content) > _CHUNK else min(size * 2, _PACKED.stop)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not whole:  # the library does not notice it
        raise EOFError("it ends before its end mark")


_Unpacker = Callable[[IO[bytes], Path], Iterator[bytes]]


def _read_with(unpack: Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]) -> _Unpacker:
    def read(file: IO[bytes], path: Path) -> Iterator[bytes]:
        with unpack(file) as unpacked:
            while content := unpacked.read(_CHUNK):
                yield content

    return read


_UNPACKED: dict[str, tuple[str, _Unpacker]] = {
    ".gz": ("gzip", _read_with(lambda file: gzip.GzipFile(fileobj=file))),
    ".bz2": ("bzip2", _read_with(bz2.BZ2File)),
    ".xz": ("xz", _read_with(lzma.LZMAFile)),
    ".zst": ("zstd", _read_zstd),
}
"""Name and reader of each compression, by the ending of a file's name."""


def content_of(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in chunks, unpacked.

    Raises:
        Unreadable: the file is damaged.
        UserError: a package is missing.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not is_packed(path):
            while content := file.read(_CHUNK):
                yield content
            return
        name, read = _UNPACKED[path.suffix.lower()]
        try:
            yield from read(file, path)
        except (ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, UserError):
                raise
            raise _damaged(path, name, error) from error
        except OSError as error:
            if error.errno is not None:  # of the disk
                raise
            raise _damaged(path, name, error) from error


def _damaged(path: Path, compression: str, error: Exception) -> Unreadable:
    reason = str(error).rstrip(".") or type(error).__name__
    return Unreadable("damaged", f"{path} is damaged, or no {compression} file ({reason})", damaged=True)


def encoding_of(path: Path) -> Encoding:
    """Return the encoding of a file of text.

    Raises:
        Unreadable: the file is empty, binary or damaged.
        UserError: a package is missing.
        OSError: the file cannot be read.
    """
    beginning = b""
    for content in content_of(path):
        beginning += content[:_LOOKED_AT]
        if len(beginning) >= _LOOKED_AT:
            break
    mark, name = next(((mark, name) for mark, name in _MARKS if beginning.startswith(mark)), (b"", "utf-8"))
    if len(beginning) == len(mark):
        raise Unreadable("empty", f"{path} is empty")
    if name == "utf-8" and (place := beginning.find(b"\0")) >= 0:
        raise Unreadable(
            "binary",
            f"{path} is binary, or UTF-16 without a byte order mark (a NUL byte at offset {place}); convert it to "
            "UTF-8 first",
        )
    return Encoding(name, len(mark))


def decoded(path: Path, encoding: Encoding) -> Iterator[str]:
    """Yield the text of a file in chunks, without its byte order mark, line ends as they are.

    Raises:
        Unreadable: the file is damaged, or has bytes that are not valid in the encoding.
        OSError: the file cannot be read.
    """
    decoder = codecs.getincrementaldecoder(encoding.name)()
    place, mark = 0, encoding.mark
    for content in content_of(path):
        place += min(mark, len(content))
        content, mark = content[mark:], max(0, mark - len(content))
        if text := _decode(decoder, content, place, path, encoding.name):
            yield text
        place += len(content)
    _decode(decoder, b"", place, path, encoding.name, final=True)


def _decode(decoder: Any, content: bytes, place: int, path: Path, encoding: str, final: bool = False) -> str:
    begin = place - len(decoder.getstate()[0])  # a character may be cut by the end of a chunk
    try:
        text: str = decoder.decode(content, final=final)
    except UnicodeDecodeError as error:
        name = encoding[:-3].upper() if encoding != "utf-8" else "UTF-8"
        value = f"byte 0x{error.object[error.start]:02x} at offset {begin + error.start} ({error.reason})"
        message = f"{path} is not {name}: {value}; convert it to UTF-8 first"
        raise Unreadable(f"not {name}", message) from error
    return text


@dataclass(frozen=True)
class TextFile:
    """A file of text, which is one document.

    Attributes:
        characters: number of characters.
        number: number of documents.
        sha256: the checksum of the text as UTF-8, in hexadecimal.
    """

    path: Path
    stamp: Stamp
    encoding: Encoding
    characters: int
    sha256: str
    number: ClassVar[int] = 1

    @classmethod
    def of(cls, path: Path, stamp: Stamp, encoding: Encoding, advance: Callable[[int], None]) -> "TextFile":
        """Read a file for its length and checksum. Raises as :func:`decoded`.

        Args:
            advance: called with the bytes of each chunk that was read.
        """
        digest, characters = hashlib.sha256(), 0
        for text in decoded(path, encoding):
            content = text.encode()
            digest.update(content)
            characters += len(text)
            advance(len(content))
        return cls(path, stamp, encoding, characters, digest.hexdigest())

    def documents(self) -> "Iterator[TextFile]":
        yield self

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]:
        """Yield the characters from ``first`` to ``end`` in chunks.

        Raises:
            UserError: the file has changed since it was inspected, or cannot be read any more.
        """
        with unchanged(self.path, self.stamp):
            yield from part_of(decoded(self.path, self.encoding), first, self.characters if end is None else end)

    def line_end(self, index: int) -> int:
        """Return the index after the line that ``index`` lies in, or ``index`` if the rest is one line."""
        return line_end(self, index)
