"""Documents of a file: its whole text, its lines, or its records (JSON lines, a JSON list, CSV, TSV, parquet)."""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.files import (
    Encoding,
    Stamp,
    TextFile,
    Unreadable,
    decoded,
    encoding_of,
    ending_of,
    is_packed,
    unchanged,
)
from lmlab.errors import UserError, first_line, nearest
from lmlab.numerals import counted

LONGEST = 1 << 26
"""Characters of the longest line or record: a longer one is malformed, and never in memory as a whole."""
_LONGEST_FIELD = 1 << 24  # characters of a field of CSV; Python's reader needs eight bytes for each
_ROWS = 256  # rows of parquet that are decoded at a time


@dataclass(frozen=True)
class Form:
    """Options for the documents of files.

    Attributes:
        documents: each file, line or record is a document; ``None``: records if a file has them, otherwise the file.
        field: name of the records' field with the text; ``None``: ``text``, or the only field that is a text.
        on_error: fail at a malformed record or damaged file, or skip it.
    """

    documents: Literal["file", "line", "record"] | None = None
    field: str | None = None
    on_error: Literal["fail", "skip"] = "fail"


@dataclass(frozen=True)
class Malformed:
    """A record that cannot be read.

    Attributes:
        reason: the reason, without the record's place.
        last: what follows it cannot be read either.
    """

    reason: str
    last: bool = False


Record = Mapping[str, Any] | Malformed
Reader = Callable[[Iterable[str]], Iterator[tuple[str, Record]]]
"""From the chunks of a file to its records, each with its place: ``line 3``."""


@dataclass(frozen=True)
class Passage:
    """A document in memory."""

    text: str

    @property
    def characters(self) -> int:
        return len(self.text)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]:
        yield self.text[first:end]

    def line_end(self, index: int) -> int:
        """Return the index after the line that ``index`` lies in, or ``index`` if the rest is one line."""
        if index == 0:
            return 0
        end = self.text.find("\n", index - 1) + 1
        return end if 0 < end < len(self.text) else index


@dataclass(frozen=True)
class RecordFile:
    """A file of several documents.

    Attributes:
        reader: how it is read, a key of :data:`READERS`, or ``parquet`` or ``lines``.
        field: the field of its records with the text; ``None``: it has none.
        encoding: ``None``: it is no text.
        number: number of documents.
        empty: number of records without text, which are no documents.
        malformed: number of records that are skipped because they cannot be read.
        problem: a message about the first of them, or "".
        sha256: the checksum of all documents in their order, in hexadecimal.
    """

    path: Path
    stamp: Stamp
    encoding: Encoding | None
    reader: str
    field: str | None
    number: int
    empty: int
    malformed: int
    problem: str
    sha256: str

    def documents(self) -> Iterator[Passage]:
        """Yield the documents.

        Raises:
            UserError: the file has changed since it was inspected, or cannot be read any more.
        """
        with unchanged(self.path, self.stamp):
            for _, text in _texts(self.path, self.encoding, self.reader, self.field):
                if isinstance(text, str) and _is_document(text):
                    yield Passage(text)


def inspect(path: Path, stamp: Stamp, form: Form) -> TextFile | RecordFile | Unreadable:
    """Read a file once, and return a description of its documents, or the reason why it has none.

    Raises:
        UserError: a package is missing, or the file changes while it is read.
        OSError: the file cannot be read.
    """
    with unchanged(path, stamp):
        try:
            reader, encoding = _reader(path, form.documents)
            if reader is None:
                assert encoding is not None
                return TextFile.of(path, stamp, encoding)
            return _inspect_records(path, stamp, encoding, reader, form)
        except Unreadable as reason:
            return reason


def _inspect_records(path: Path, stamp: Stamp, encoding: Encoding | None, reader: str, form: Form) -> RecordFile:
    field = None if reader == "lines" else _field(path, encoding, reader, form.field)
    digest, number, empty, malformed, problem = hashlib.sha256(b"documents\n"), 0, 0, 0, ""
    for place, text in _texts(path, encoding, reader, field):
        if isinstance(text, Malformed):
            malformed, problem = malformed + 1, problem or f"{path}, {place}: {text.reason}"
            if text.last:
                raise Unreadable("damaged", f"{path}, {place}: {text.reason}; the rest cannot be read", damaged=True)
            if form.on_error == "fail":
                message = f"{problem}; mend it, or data.on_error=skip leaves out such records"
                raise Unreadable("malformed", message, damaged=True)
        elif _is_document(text):
            content = text.encode()
            digest.update(b"%d\n" % len(content))
            digest.update(content)
            number += 1
        else:
            empty += 1
    if not number:
        counts = [f"{count:,} {what}" for count, what in ((empty, "empty"), (malformed, "malformed")) if count]
        raise Unreadable("no documents", f"{path} has no document ({', '.join(counts) or 'no records'})")
    return RecordFile(path, stamp, encoding, reader, field, number, empty, malformed, problem, digest.hexdigest())


def _is_document(text: str) -> bool:
    return text != "" and not text.isspace()


def _reader(path: Path, documents: str | None) -> tuple[str | None, Encoding | None]:
    """Return how a file is read, and its encoding; no reader: it is one document.

    Raises:
        Unreadable: it is binary or empty, or has no records.
    """
    ending = ending_of(path)
    if ending in _PARQUET:
        if is_packed(path):
            raise Unreadable("packed parquet", f"{path}: parquet is compressed within; unpack the file first")
        if documents not in (None, "record"):
            raise Unreadable("parquet", f"{path}: parquet holds records; expected data.documents=record")
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
        raise Unreadable("no records", f"{path} holds no records: expected one of {endings}")
    return reader, encoding


def _json_form(path: Path, encoding: Encoding) -> str:
    """Return ``list`` for a JSON list of objects, ``lines`` for objects on lines, and ``text`` for other JSON."""
    start = next((start for chunk in decoded(path, encoding) if (start := chunk.lstrip())), "")
    if start.startswith("["):
        return "list" if start[1:].lstrip()[:1] in ("", "{") else "text"
    lines = (line for _, line in _lines(decoded(path, encoding)))
    filled = (line for line in lines if isinstance(line, str) and _is_document(line))
    if start.startswith("{") and not isinstance(_object(next(filled, "")), Malformed):
        return "lines" if next(filled, "").lstrip().startswith("{") else "text"
    return "text"


def _texts(
    path: Path, encoding: Encoding | None, reader: str, field: str | None
) -> Iterator[tuple[str, str | Malformed]]:
    """Yield the text of every line or record of a file, with its place."""
    if reader == "lines":
        assert encoding is not None
        for number, line in _lines(decoded(path, encoding)):
            yield f"line {number:,}", line if isinstance(line, Malformed) else line.removesuffix("\r")
        return
    assert field is not None
    for place, record in _records(path, encoding, reader, field):
        yield place, record if isinstance(record, Malformed) else _text(record, field)


def _text(record: Mapping[str, Any], field: str) -> str | Malformed:
    if field not in record:
        return Malformed(f"no field {field!r}{nearest(field, record)}")
    value = record[field]
    if not isinstance(value, str):
        kind = "null" if value is None else f"{_kind(value)}, not a text"
        return Malformed(f"field {field!r} is {kind}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return Malformed(f"field {field!r} has half a surrogate pair at character {error.start:,}")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return {int: "a number", float: "a number", list: "a list", dict: "a section"}.get(
        type(value), type(value).__name__
    )


def _field(path: Path, encoding: Encoding | None, reader: str, field: str | None) -> str:
    """Return the field with the text, as the first record that can be read has it.

    Raises:
        Unreadable: there is no such field, or none or several could be meant.
    """
    if reader == "parquet":
        names, texts = _parquet_columns(path)
    else:
        records = (record for _, record in _records(path, encoding, reader, "") if not isinstance(record, Malformed))
        first = next(records, None)
        if first is None:
            return field or "text"
        names, texts = [*first], [name for name, value in first.items() if isinstance(value, str)]
    if field is not None:
        if field not in names:
            raise Unreadable(f"without the field {field!r}", f"{path} has no field {field!r}{_hint(field, names)}")
        return field
    if "text" in names:
        return "text"
    if len(texts) == 1:
        return texts[0]
    kind = "several fields that are texts" if texts else "no field that is a text"
    pick = f"; data.field={texts[0]} would choose one" if texts else ""
    raise Unreadable("without a field 'text'", f"{path} has {kind} (fields: {', '.join(names)}){pick}")


def _hint(field: str, names: Sequence[str]) -> str:
    return nearest(field, names) or f" (fields: {', '.join(names)})"


def _records(path: Path, encoding: Encoding | None, reader: str, field: str) -> Iterator[tuple[str, Record]]:
    if reader == "parquet":
        return _parquet_rows(path, field)
    assert encoding is not None
    return READERS[reader](decoded(path, encoding))


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


def _json_lines(chunks: Iterable[str]) -> Iterator[tuple[str, Record]]:
    for number, line in _lines(chunks):
        if isinstance(line, Malformed):
            yield f"line {number:,}", line
        elif _is_document(line):
            yield f"line {number:,}", _object(line)


def _object(text: str) -> Record:
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        return Malformed(_not_json(error))


def _checked(value: Any) -> Record:
    return value if isinstance(value, dict) else Malformed(f"{_kind(value)}, not an object with fields")


def _not_json(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg}, at character {error.pos + 1:,})"
    return f"not JSON ({error})"


_SPACE = re.compile(r"[ \t\r\n]*")


class _JsonList:
    """The objects of a JSON list, with a part of the text in memory."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = iter(chunks)
        self._text, self._place = "", 0

    def __iter__(self) -> Iterator[tuple[str, Record]]:
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

    def _value(self) -> Record:
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
                    return Malformed(_not_json(error), last=True)

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


def _table(chunks: Iterable[str]) -> Iterator[tuple[str, Record]]:
    """Yield the rows of CSV or TSV below the header; a comma, semicolon or tab separates fields, as in the header."""
    csv.field_size_limit(_LONGEST_FIELD)  # which also ends a quote that is not closed
    lines = (_whole(line) for _, line in _lines(chunks))
    header = next((line for line in lines if not line.isspace()), "")
    separator = max(",;\t", key=header.count)
    rows = csv.reader(chain([header], lines), delimiter=separator, strict=True)
    names: list[str] | None = None
    while True:
        place = f"line {rows.line_num + 1:,}"
        try:
            row = next(rows, None)
        except csv.Error as error:
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


def _parquet_columns(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the columns of a parquet file, and of those that are texts."""
    with _parquet(path) as (file, arrow):
        schema = file.schema_arrow
        is_text = (arrow.types.is_string, arrow.types.is_large_string, arrow.types.is_string_view)
        types = {one.name: one.type for one in schema}
        values = {name: one.value_type if arrow.types.is_dictionary(one) else one for name, one in types.items()}
        return [*types], [name for name, one in values.items() if any(check(one) for check in is_text)]


def _parquet_rows(path: Path, field: str) -> Iterator[tuple[str, Record]]:
    number = 0
    with _parquet(path) as (file, _):
        for batch in file.iter_batches(_ROWS, columns=[field], use_threads=False):
            for value in batch.column(0).to_pylist():
                number += 1
                yield f"row {number:,}", {field: value}


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
