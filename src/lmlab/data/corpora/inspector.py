"""A cache of what files hold, by their path, size and time of change."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.documents import Form, RecordFile, inspect
from lmlab.data.corpora.files import Encoding, Stamp, TextFile, Unreadable, stamp_of
from lmlab.data.corpora.records import SourceFile, reader_of
from lmlab.runs.files import write_text

_SETTLED = 2.0  # seconds after a change within which another change may have the same timestamp


class Inspector:
    """Reads each file once for its encoding, length and checksum; unchanged files are not read again.

    A file is unchanged if its path, size, inode and time of change equal those that :meth:`save` wrote to a folder.

    Args:
        advance: called with the bytes of each part of a text that was read.
    """

    def __init__(self, folder: Path, advance: Callable[[int], None] = lambda size: None) -> None:
        self._advance = advance
        self._path = folder / "files.json"
        self._seen: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._seen = content if isinstance(content, dict) else {}
        self._new = False

    def inspect(self, path: Path, form: Form) -> TextFile | RecordFile | Unreadable:
        """Return the description of a file.

        Raises:
            UserError: a package is missing, or the file changes while it is read.
            OSError: the file cannot be read.
        """
        stamp = stamp_of(path)
        key = f"{path.absolute()} {form.documents} {form.field} {form.on_error}"
        recorded = self._seen.get(key)
        if recorded is not None and tuple(recorded[0]) == stamp:
            return _from_record(path, recorded[1])
        content = inspect(path, stamp, form, self._advance)
        if _is_settled(stamp):
            self._seen[key] = [stamp, _record_of(content)]
            self._new = True
        return content

    def source(self, path: Path, documents: Literal["file", "line", "record"] | None) -> SourceFile | Unreadable:
        """Return a file of records, lines or one text, or the reason why it is none. Raises as :meth:`inspect`."""
        try:
            reader, encoding = reader_of(path, documents)
        except Unreadable as reason:
            return reason
        if encoding is None:
            return SourceFile(path, stamp_of(path), None, reader, self.checksum(path))
        content = self.inspect(path, Form("file"))
        assert not isinstance(content, RecordFile)  # a document is a file
        if isinstance(content, Unreadable):
            return content
        return SourceFile(path, content.stamp, encoding, reader, content.sha256)

    def checksum(self, path: Path) -> str:
        """Return the SHA-256 of the bytes of a file, in hexadecimal. Raises ``OSError``."""

        def compute() -> str:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        stamp = stamp_of(path)
        key = " ".join(map(str, (path.absolute(), *stamp)))
        return self.remember(key, compute) if _is_settled(stamp) else compute()

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


def _is_settled(stamp: Stamp) -> bool:
    return time.time_ns() - stamp[2] > _SETTLED * 1e9


def _record_of(content: TextFile | RecordFile | Unreadable) -> dict[str, Any]:
    if isinstance(content, Unreadable):
        return vars(content)
    return {key: value for key, value in asdict(content).items() if key != "path"}


def _from_record(path: Path, record: Mapping[str, Any]) -> TextFile | RecordFile | Unreadable:
    if "reason" in record:
        return Unreadable(**record)
    encoding = record["encoding"]
    values = {**record, "stamp": tuple(record["stamp"]), "encoding": encoding and Encoding(**encoding)}
    return RecordFile(path, **values) if "reader" in record else TextFile(path, **values)
