"""Records of files: JSON lines, a JSON list, CSV, TSV or parquet; also the lines of a text. Each has its place."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lmlab.data.corpora.files import Encoding, Stamp, Unreadable, decoded, encoding_of, ending_of, is_packed, unchanged
from lmlab.errors import UserError, first_line
from lmlab.numerals import counted

LONGEST = 1 << 26
"""Characters of the longest line or record: a longer one is malformed, and never in memory as a whole."""
_LONGEST_FIELD = 1 << 24  # characters of a field of CSV; Python's reader needs eight bytes for each
_ROWS = 256  # rows of parquet that are decoded at a time


@dataclass(frozen=True)
class Malformed:
    """A record that cannot be read.

    Attributes:
        reason: the reason, without the record's place.
        last: what follows it cannot be read either.
    """

    reason: str
    last: bool = False


Record = dict[str, Any]
Reader = Callable[[Iterable[str]], Iterator[tuple[str, Record | Malformed]]]
"""From the chunks of a file to its records, each with its place: ``line 3``."""


@dataclass(frozen=True)
class SourceFile:
    """A file of records, of lines, or of one text.

    Attributes:
        encoding: ``None``: it is no text.
        reader: how it is read, a key of :data:`READERS`, or ``parquet`` or ``lines``; ``None``: as one text.
        sha256: the checksum of its text as UTF-8, in hexadecimal; of parquet, that of its bytes.
    """

    path: Path
    stamp: Stamp
    encoding: Encoding | None
    reader: str | None
    sha256: str

    def records(self) -> Iterator[tuple[str, Record | Malformed]]:
        """Yield the records, each with its place.

        Raises:
            UserError: the file has changed since it was inspected, or cannot be read any more.
        """
        assert self.reader is not None
        with unchanged(self.path, self.stamp):
            yield from records_of(self.path, self.encoding, self.reader)

    def lines(self) -> Iterator[tuple[str, str | Malformed]]:
        """Yield the lines, each with its place. Raises as :meth:`records`."""
        assert self.encoding is not None
        with unchanged(self.path, self.stamp):
            yield from lines_of(self.path, self.encoding)

    def text(self) -> str:
        """Return the whole text. Raises as :meth:`records`."""
        assert self.encoding is not None
        with unchanged(self.path, self.stamp):
            return "".join(decoded(self.path, self.encoding))


def is_blank(text: str) -> bool:
    """Return whether a text is empty or white space."""
    return text == "" or text.isspace()


def holds_records(path: Path) -> bool:
    """Return whether a file is named like one of records."""
    return ending_of(path) in (*_ENDINGS, ".json", *_PARQUET)


def reader_of(path: Path, documents: str | None) -> tuple[str | None, Encoding | None]:
    """Return how a file is read, and its encoding; no reader: it is one document.

    Raises:
        Unreadable: it is binary or empty, or has no records.
    """
    ending = ending_of(path)
    if ending in _PARQUET:
        if is_packed(path):
            raise Unreadable("packed parquet", f"{path}: parquet is compressed within; unpack the file first")
        if documents not in (None, "record"):
            kind = "lines" if documents == "line" else "one text"
            raise Unreadable("parquet", f"{path}: parquet holds records; it cannot be read as {kind}")
        if not path.stat().st_size:
            raise Unreadable("empty", f"{path} is empty")
        return "parquet", None
    encoding = encoding_of(path)
    if documents == "file":
        return None, encoding
    if documents == "line":
        return "lines", encoding
    reader = _JSON_FORMS.get(_json_form(path, encoding)) if ending == ".json" else _ENDINGS.get(ending)
    if reader is None and documents == "record":
        endings = ", ".join([*_ENDINGS, ".json", *_PARQUET])
        expected = "a list of objects, or objects on lines" if ending == ".json" else f"one of {endings}"
        raise Unreadable("no records", f"{path} holds no records: expected {expected}")
    return reader, encoding


def _json_form(path: Path, encoding: Encoding) -> str:
    """Return ``list`` for a JSON list of objects, ``lines`` for objects on lines, and ``text`` for other JSON."""
    start = next((start for chunk in decoded(path, encoding) if (start := chunk.lstrip())), "")
    if start.startswith("["):
        return "list" if start[1:].lstrip()[:1] in ("", "{") else "text"
    lines = (line for _, line in _lines(decoded(path, encoding)))
    filled = (line for line in lines if isinstance(line, str) and not is_blank(line))
    if start.startswith("{") and not isinstance(_object(next(filled, "")), Malformed):
        return "lines" if next(filled, "").lstrip().startswith("{") else "text"
    return "text"


def kind_of(value: Any) -> str:
    """Return the kind of a value of a record, in words."""
    if isinstance(value, bool):
        return "true or false"
    return {int: "a number", float: "a number", list: "a list", dict: "a section"}.get(
        type(value), type(value).__name__
    )


def records_of(
    path: Path, encoding: Encoding | None, reader: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the records of a file, each with its place.

    Args:
        reader: a key of :data:`READERS`, or ``parquet``.
        columns: the fields that are needed, if only some are; others may be left out.

    Raises:
        Unreadable: the file is damaged.
        UserError: a package is missing.
        OSError: the file cannot be read.
    """
    if reader == "parquet":
        return _parquet_rows(path, columns)
    assert encoding is not None
    return READERS[reader](decoded(path, encoding))


def lines_of(path: Path, encoding: Encoding) -> Iterator[tuple[str, str | Malformed]]:
    """Yield the lines of a file without their ends, each with its place. Raises as :func:`records_of`.

    Only a line feed, or a carriage return before it, ends a line; other separators belong to the text.
    """
    for number, line in _lines(decoded(path, encoding)):
        yield f"line {number:,}", line if isinstance(line, Malformed) else line.removesuffix("\r")


def _lines(chunks: Iterable[str]) -> Iterator[tuple[int, str | Malformed]]:
    """Yield the lines of a text without ``\\n``, with their numbers from 1; an overlong one is malformed."""
    number, parts, length = 1, list[str](), 0
    for chunk in chunks:
        first, *others = chunk.split("\n")
        length += len(first)
        parts = [*parts, first] if length <= LONGEST else []
        for rest in others:
            yield number, _joined(parts, length)
            number, parts, length = number + 1, [rest], len(rest)
    if length:
        yield number, _joined(parts, length)


def _joined(parts: Sequence[str], length: int) -> str | Malformed:
    return "".join(parts) if length <= LONGEST else Malformed(f"the line is longer than {LONGEST:,} characters")


def _json_lines(chunks: Iterable[str]) -> Iterator[tuple[str, Record | Malformed]]:
    for number, line in _lines(chunks):
        if isinstance(line, Malformed):
            yield f"line {number:,}", line
        elif not is_blank(line):
            yield f"line {number:,}", _object(line)


def _object(text: str) -> Record | Malformed:
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        return Malformed(not_json(error))


def _checked(value: Any) -> Record | Malformed:
    return value if isinstance(value, dict) else Malformed(f"{kind_of(value)}, not an object with fields")


def not_json(error: Exception) -> str:
    """Return the reason why a text is not JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg}, at character {error.pos + 1:,})"
    return f"not JSON ({error})"


_SPACE = re.compile(r"[ \t\r\n]*")


class _JsonList:
    """The objects of a JSON list, with a part of the text in memory."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = iter(chunks)
        self._text, self._place = "", 0

    def __iter__(self) -> Iterator[tuple[str, Record | Malformed]]:
        number, expected = 1, "["
        while True:
            sign = self._sign()
            if sign == "]" and expected == ",":
                self._place += 1
                if self._sign():
                    yield f"record {number:,}", Malformed("more text after the end of the list", last=True)
                return
            if sign != expected:
                reason = f"not JSON (expected {expected} and not {sign})" if sign else "the list has no end"
                yield f"record {number:,}", Malformed(reason, last=True)
                return
            self._place += 1
            if number == 1 and self._sign() == "]":
                expected = ","
                continue
            record = self._value()
            yield f"record {number:,}", record
            if isinstance(record, Malformed) and record.last:
                return
            number, expected = number + 1, ","

    def _sign(self) -> str:
        """Return the next character that is no space, or "" at the end."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text) or not self._read_more():
                return self._text[self._place : self._place + 1]

    def _value(self) -> Record | Malformed:
        self._sign()
        while True:
            try:
                value, self._place = _DECODER.raw_decode(self._text, self._place)
                return _checked(value)
            except (ValueError, RecursionError) as error:  # perhaps its end has not been read yet
                begun = self._place
                if len(self._text) - begun > LONGEST or not self._read_more():
                    if isinstance(error, json.JSONDecodeError):
                        error.pos -= begun
                    return Malformed(not_json(error), last=True)

    def _read_more(self) -> bool:
        """Read at least as much as is left in memory; return whether there was anything."""
        left = len(self._text) - self._place
        parts, added = [self._text[self._place :]], 0
        for chunk in self._chunks:
            parts.append(chunk)
            if (added := added + len(chunk)) > left:
                break
        self._text, self._place = "".join(parts), 0
        return added > 0


_DECODER = json.JSONDecoder()


def _table(chunks: Iterable[str]) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the rows of CSV or TSV below the header; a comma, semicolon or tab separates fields, as in the header."""
    csv.field_size_limit(_LONGEST_FIELD)  # which also ends a quote that is not closed
    lines = (_whole(line) for _, line in _lines(chunks))
    header = next((line for line in lines if not line.isspace()), "")
    separator = "\t" if "\t" in header else max(",;", key=header.count)
    rows = csv.reader(chain([header], lines), delimiter=separator, strict=True)
    names: list[str] | None = None
    while True:
        begin = rows.line_num + 1
        place = f"line {begin:,}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            if rows.line_num > begin and ("unexpected end" in str(error) or "field larger" in str(error)):
                taken = counted(rows.line_num - begin, "line")
                yield place, Malformed(f"a quote is not closed and takes in {taken} after it", last=True)
                return
            yield place, Malformed(f"not CSV ({error})")
            continue
        except _Overlong as error:
            yield place, Malformed(str(error), last=True)
            return
        if row is None:
            return
        if names is None:
            names = row
        elif row:
            fits = len(row) == len(names)
            named = dict(zip(names, row, strict=False))
            yield place, named if fits else Malformed(f"{counted(len(row), 'field')}, but the header has {len(names)}")


class _Overlong(Exception):
    """A line that is too long to be read."""


def _whole(line: str | Malformed) -> str:
    if isinstance(line, Malformed):
        raise _Overlong(line.reason)
    return f"{line}\n"


READERS: dict[str, Reader] = {
    "json lines": _json_lines,
    "json list": lambda chunks: iter(_JsonList(chunks)),
    "table": _table,
}
_ENDINGS = {".jsonl": "json lines", ".ndjson": "json lines", ".csv": "table", ".tsv": "table"}
_JSON_FORMS = {"list": "json list", "lines": "json lines"}
_PARQUET = (".parquet", ".pq")


def parquet_columns(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the columns of a parquet file, and of those that are texts."""
    with _parquet(path) as (file, arrow):
        schema = file.schema_arrow
        is_text = (arrow.types.is_string, arrow.types.is_large_string, arrow.types.is_string_view)
        types = {one.name: one.type for one in schema}
        values = {name: one.value_type if arrow.types.is_dictionary(one) else one for name, one in types.items()}
        return [*types], [name for name, one in values.items() if any(check(one) for check in is_text)]


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[str, Record | Malformed]]:
    number = 0
    with _parquet(path) as (file, _):
        for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number:,}", record


@contextmanager
def _parquet(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a parquet file. Raises ``Unreadable`` if it is damaged, ``UserError`` if the package is missing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"data.paths: {path} needs the package pyarrow (pip install 'lmlab[corpora]')") from None
    try:
        with path.open("rb") as content, parquet.ParquetFile(content, buffer_size=1 << 20) as file:
            yield file, pyarrow
    except (pyarrow.ArrowException, UnicodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        message = f"{path} is damaged, or no parquet file ({first_line(error).rstrip('.')})"
        raise Unreadable("damaged", message, damaged=True) from error
