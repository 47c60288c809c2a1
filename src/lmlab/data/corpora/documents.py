"""Documents of a file: its whole text, its lines, or the texts of its records."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.files import Encoding, Stamp, TextFile, Unreadable, unchanged
from lmlab.data.corpora.records import Malformed, is_blank, kind_of, lines_of, parquet_columns, reader_of, records_of
from lmlab.errors import nearest

MEND = "mend it, or data.on_error=skip leaves out such records"
"""A remedy for a malformed record."""
_SHOWING = 100
"""Records that are looked at for the kind of a field that is null in the first."""


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
        reader: how it is read, a key of :data:`~lmlab.data.corpora.records.READERS`, or ``parquet`` or ``lines``.
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
                if isinstance(text, str) and not is_blank(text):
                    yield Passage(text)


def inspect(
    path: Path, stamp: Stamp, form: Form, advance: Callable[[int], None] = lambda size: None
) -> TextFile | RecordFile | Unreadable:
    """Read a file once, and return a description of its documents, or the reason why it has none.

    Args:
        advance: called with the bytes of each part of the text that was read.

    Raises:
        UserError: a package is missing, or the file changes while it is read.
        OSError: the file cannot be read.
    """
    with unchanged(path, stamp):
        try:
            reader, encoding = reader_of(path, form.documents)
            if reader is None:
                assert encoding is not None
                return TextFile.of(path, stamp, encoding, advance)
            return _inspect_records(path, stamp, encoding, reader, form, advance)
        except Unreadable as reason:
            return reason


def _inspect_records(
    path: Path,
    stamp: Stamp,
    encoding: Encoding | None,
    reader: str,
    form: Form,
    advance: Callable[[int], None],
) -> RecordFile:
    field = None if reader == "lines" else _field(path, encoding, reader, form.field)
    digest, number, empty, malformed, problem = hashlib.sha256(b"documents\n"), 0, 0, 0, ""
    for place, text in _texts(path, encoding, reader, field):
        if isinstance(text, Malformed):
            malformed, problem = malformed + 1, problem or f"{path}, {place}: {text.reason}"
            if text.last:
                raise Unreadable("damaged", f"{path}, {place}: {text.reason}; the rest cannot be read", damaged=True)
            if form.on_error == "fail":
                message = f"{problem}; {MEND}"
                raise Unreadable("malformed", message, damaged=True)
        elif not is_blank(text):
            content = text.encode()
            digest.update(b"%d\n" % len(content))
            digest.update(content)
            number += 1
            advance(len(content))
        else:
            empty += 1
    if not number:
        counts = [f"{count:,} {what}" for count, what in ((empty, "empty"), (malformed, "malformed")) if count]
        raise Unreadable("no documents", f"{path} has no document ({', '.join(counts) or 'no records'})")
    return RecordFile(path, stamp, encoding, reader, field, number, empty, malformed, problem, digest.hexdigest())


def _texts(
    path: Path, encoding: Encoding | None, reader: str, field: str | None
) -> Iterator[tuple[str, str | Malformed]]:
    """Yield the text of every line or record of a file, with its place."""
    if reader == "lines":
        assert encoding is not None
        yield from lines_of(path, encoding)
        return
    assert field is not None
    for place, record in records_of(path, encoding, reader, [field]):
        yield place, record if isinstance(record, Malformed) else _text(record, field)


def _text(record: Mapping[str, Any], field: str) -> str | Malformed:
    if field not in record:
        return Malformed(f"no field {field!r}{nearest(field, record)}")
    value = record[field]
    if not isinstance(value, str):
        kind = "null" if value is None else f"{kind_of(value)}, not a text"
        return Malformed(f"field {field!r} is {kind}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return Malformed(f"field {field!r} has half a surrogate pair at character {error.start:,}")
    return value


def _field(path: Path, encoding: Encoding | None, reader: str, field: str | None) -> str:
    """Return the field with the text, as the first record that can be read has it.

    Raises:
        Unreadable: there is no such field, or none or several could be meant.
    """
    if reader == "parquet":
        names, texts = parquet_columns(path)
    else:
        records = (record for _, record in records_of(path, encoding, reader) if not isinstance(record, Malformed))
        first = next(records, None)
        if first is None:
            return field or "text"
        if None in first.values():  # others show what kind of value such a field has
            for record in islice(records, _SHOWING - 1):
                first |= {name: value for name, value in record.items() if first.get(name) is None}
                if None not in first.values():
                    break
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
