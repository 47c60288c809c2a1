"""The texts of a data set in a cache: complete parquet files, written in turn and resumed."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.files import read_json, write_json, write_whole

_PART = 1 << 26  # characters of text in a file
_ROWS = 1000  # documents read at a time
_RECORD = "record.json"


class Rows(Protocol):
    """A data set that is read from its beginning or from a recorded state, as ``datasets.IterableDataset`` is."""

    def iter(self, batch_size: int) -> Iterable[Any]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StoredTexts:
    """Texts that :func:`store` has written to ``folder`` completely.

    Attributes:
        rows: number of documents that were read.
        without_text: number of those that have no text, which are left out.
        fingerprint: SHA-256, in hexadecimal, of all texts in order.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        record = read_json(folder / _RECORD)
        self.rows: int = record["rows"]
        self.without_text: int = record["without_text"]
        self._parts: list[str] = record["parts"]
        self.fingerprint = hashlib.sha256("\n".join(self._parts).encode()).hexdigest()

    def __iter__(self) -> Iterator[str]:
        from pyarrow.parquet import ParquetFile

        for number in range(len(self._parts)):
            with ParquetFile(self._folder / _name(number), page_checksum_verification=True) as file:
                for batch in file.iter_batches(_ROWS):
                    yield from batch.column(0).to_pylist()


def store(rows: Rows, folder: Path, bar: ProgressBar, limit: int | None = None) -> None:
    """Write the only column of ``rows``, which come as Arrow tables, to ``folder``.

    If an interrupted call has completed a part there, this one continues after it. No other process may write the same
    folder.

    Args:
        limit: the number of documents to read at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        record = read_json(folder / _RECORD)
    except (OSError, ValueError):
        record = {"rows": 0, "without_text": 0, "parts": [], "state": None}
    if record["state"] is not None:
        rows.load_state_dict(record["state"])
    texts: list[str] = []
    size = 0

    def finish_part() -> None:
        record["parts"].append(_write(texts, folder / _name(len(record["parts"]))))
        record["state"] = rows.state_dict()
        write_json(folder / _RECORD, record)
        texts.clear()

    if limit is None or record["rows"] < limit:
        for table in rows.iter(_ROWS):
            column = table.column(0).to_pylist()
            column = column if limit is None else column[: limit - record["rows"]]
            record["rows"] += len(column)
            with_text = [text for text in column if text]
            record["without_text"] += len(column) - len(with_text)
            texts += with_text
            characters = sum(map(len, with_text))
            size += characters
            bar.advance(characters)
            signals.check()
            if size >= _PART:
                finish_part()
                size = 0
            if record["rows"] == limit:
                break
    if texts or not record["parts"]:
        finish_part()


def _write(texts: list[str], path: Path) -> str:
    """Write a parquet file of texts, and return the SHA-256 of the texts."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": pyarrow.array(texts, pyarrow.large_string())})
    write_whole(path, lambda temporary: parquet.write_table(table, temporary, 10 * _ROWS, compression="zstd"))
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode()
        digest.update(b"%d\n" % len(content) + content)
    return digest.hexdigest()


def _name(part: int) -> str:
    return f"{part:05}.parquet"
