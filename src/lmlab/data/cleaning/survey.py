"""Reading a corpus once to decide which documents stay after cleaning.

A record of each document is appended to a file in a temporary folder, whose length is on record every few seconds, so
that a process that continues cleans only the rest. When all are read, the folder is completed and renamed. Later, the
corpus is read with these decisions. Memory grows with the number of documents (some 100 bytes for each), not with their
text.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from lmlab.data.cleaning.cleaning import Cleaning
from lmlab.data.cleaning.filter import BEGINNING
from lmlab.data.cleaning.near_duplicates import HASHES, near_duplicates
from lmlab.data.text_parts import line_end, part_of
from lmlab.errors import UserError
from lmlab.numerals import counted
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.files import flush, read_json, remove, whole_folder, write_json

SplitOf = Callable[[str, np.ndarray], np.ndarray]
"""From a source and the :func:`places` [N] of its documents to the name of the split of each."""

_SPLITS = ("train", "validation", "test")
"""Splits; of equal documents, that of the last split stays."""

_PROGRESS = "progress.json"
_RECORDS = "records.bin"
_SIGNATURES = "signatures.bin"
_DECISIONS = "documents.npy"
_INTERVAL = 5.0  # seconds between two records of what has been written


class RawDocument(Protocol):
    """The text of a document, in memory or in a file."""

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]: ...


@dataclass(frozen=True)
class CleanedDocument:
    """A document that stays; its text is cleaned while it is read.

    Attributes:
        characters: the number of characters of the cleaned text.
        sha256: its checksum as UTF-8, in hexadecimal.
    """

    raw: RawDocument
    cleaning: Cleaning
    characters: int
    sha256: str

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]:
        """Yield the characters from ``first`` to ``end`` in chunks."""
        text = self.cleaning.apply(self.raw.read())
        return part_of(text, first, self.characters if end is None else end)

    def line_end(self, index: int) -> int:
        """Return the index after the line that ``index`` lies in, or ``index`` if the rest is one line."""
        return line_end(self, index)


class Survey:
    """The decisions about all documents of a corpus.

    Args:
        cleaning: the options.
        records: a record of each document of all sources, in their order.
        numbers: the number of documents of each source.
    """

    def __init__(self, cleaning: Cleaning, records: np.ndarray, numbers: Mapping[str, int]) -> None:
        self.cleaning = cleaning
        ends = np.cumsum([0, *numbers.values()]).tolist()
        self._records = {name: records[ends[place] : ends[place + 1]] for place, name in enumerate(numbers)}

    @classmethod
    def of(
        cls,
        cleaning: Cleaning,
        sources: Mapping[str, Callable[[], Iterable[RawDocument]]],
        content: str,
        split_of: SplitOf,
        cache: Path,
        bar: ProgressBar,
    ) -> "Survey":
        """Return the decisions about a corpus, from ``cache`` if it was read before with the same options and code.

        Args:
            sources: the documents by the split, or other part, that they are read from; always in the same order.
            content: a checksum of all documents and of ``split_of``.
            split_of: returns the splits of documents; a held-out document stays rather than its copy in training.

        Raises:
            UserError: no document of a source stays.
        """
        key = hashlib.sha256(f"{content} {cleaning.fingerprint()}".encode()).hexdigest()

        def fill(temporary: Path) -> None:
            temporary.mkdir(exist_ok=True)  # perhaps with the beginning of the work
            try:
                numbers = _Reading(cleaning, temporary, bar).run(sources)
                _decide(cleaning, temporary, numbers, split_of)
            except UserError:
                remove(temporary)
                raise

        def existing(folder: Path) -> Path | None:
            return folder if folder.is_dir() else None

        folder = whole_folder(cache / f"cleaned-{key[:16]}", existing, fill, resumable=True)
        survey = cls(cleaning, np.load(folder / _DECISIONS), read_json(folder / _PROGRESS)["sources"])
        survey._check()
        return survey

    def _check(self) -> None:
        for source, records in self._records.items():
            if len(records) and not (records["removed"] == 0).any():
                of_source = f" of the {source} split" if len(self._records) > 1 else ""
                counts = self._counts_of(records)
                removed = ", ".join(f"{counts[name]:,} by {name}" for name in reasons(self.cleaning))
                raise UserError(
                    f"data.clean: leaves none of the {counted(len(records), 'document')}{of_source} (removed: "
                    f"{removed}); expected weaker filters"
                )

    def kept(self, source: str, documents: Iterable[RawDocument]) -> Iterator[CleanedDocument]:
        """Yield the documents of a source that stay, out of all of them."""
        records = self._records[source]
        checksums = records["sha256"]
        removed, characters = records["removed"], records["characters"]
        for number, document in enumerate(documents):
            if not removed[number]:
                checksum = checksums[number].tobytes().hex()
                yield CleanedDocument(document, self.cleaning, int(characters[number]), checksum)

    def number(self, source: str) -> int:
        """Return the number of documents of a source that stay."""
        return int((self._records[source]["removed"] == 0).sum())

    def fingerprint(self, source: str) -> str:
        """Return the SHA-256, in hexadecimal, of the cleaned text of all documents of a source that stay."""
        records = self._records[source]
        return hashlib.sha256(records["sha256"][records["removed"] == 0].tobytes()).hexdigest()

    def counts(self, split_of: SplitOf) -> dict[str, dict[str, int]]:
        """Return the numbers of documents that were read, that stay and were removed, and of replacements, by split."""
        counts: dict[str, dict[str, int]] = {}
        for source, records in self._records.items():
            splits = split_of(source, places(records["sha256"]))
            for split in dict.fromkeys(splits.tolist()):
                before, own = counts.get(split, {}), self._counts_of(records[splits == split])
                counts[split] = {name: before.get(name, 0) + number for name, number in own.items()}
        return {split: counts[split] for split in (*_SPLITS, *(counts.keys() - set(_SPLITS))) if split in counts}

    def _counts_of(self, records: np.ndarray) -> dict[str, int]:
        names = [*reasons(self.cleaning)]
        kept = records[records["removed"] == 0]
        removed = np.bincount(records["removed"], minlength=len(names) + 1)[1:].tolist()
        replaced = dict(zip(self.cleaning.options.get("scrub", ()), kept["replaced"].sum(0).tolist(), strict=True))
        return {"documents": len(records), "kept": len(kept), **dict(zip(names, removed, strict=True)), **replaced}


def reasons(cleaning: Cleaning) -> Iterator[str]:
    """Yield the names of the steps that remove documents, in order."""
    yield from (one.name for one in cleaning.filters)
    if cleaning.exact_duplicates:
        yield "exact_duplicates"
    if cleaning.near_duplicates is not None:
        yield "near_duplicates"


def places(sha256: np.ndarray) -> np.ndarray:
    """Return the places [N] in [0, 1) of checksums [N, 32], as :func:`lmlab.data.corpora.splits.place_of` does."""
    return np.ascontiguousarray(sha256[:, :8]).view(">u8")[:, 0] / 2**64


def summary(counts: Mapping[str, Mapping[str, int]], cleaning: Cleaning) -> str:
    """Return the counts of all splits as a line."""

    def total(name: str) -> int:
        return sum(numbers[name] for numbers in counts.values())

    parts = [f"{total('kept'):,} of {counted(total('documents'), 'document')} stay"]
    if removed := [f"{total(name):,} by {name}" for name in reasons(cleaning)]:
        parts.append(f"removed: {', '.join(removed)}")
    if scrub := cleaning.options.get("scrub"):
        parts.append(f"replaced: {', '.join(f'{total(name):,} {name}' for name in scrub)}")
    return f"data.clean: {'; '.join(parts)}"


def _type_of(cleaning: Cleaning) -> np.dtype[Any]:
    """Return the type of the record of a document; ``removed`` is the place of a step among :func:`reasons`, from 1."""
    replaced = ("replaced", "<u4", (len(cleaning.scrubbers),))
    return np.dtype([("sha256", "u1", (32,)), ("characters", "<i8"), ("removed", "u1"), replaced])


class _Reading:
    """The reading of all documents, which continues after those on record in ``folder``."""

    def __init__(self, cleaning: Cleaning, folder: Path, bar: ProgressBar) -> None:
        self._cleaning = cleaning
        self._folder = folder
        self._bar = bar
        self._type = _type_of(cleaning)
        self._signatures = None if cleaning.near_duplicates is None else cleaning.signatures()

    def run(self, sources: Mapping[str, Callable[[], Iterable[RawDocument]]]) -> dict[str, int]:
        """Write a record of each document, and return the number of documents of each source."""
        sizes = {_RECORDS: self._type.itemsize} | ({_SIGNATURES: 4 * HASHES} if self._signatures else {})
        done, numbers = self._done(sizes), dict[str, int]()
        total, saved = 0, time.monotonic()
        files = {name: (self._folder / name).open("ab") for name in sizes}
        try:
            for source, documents in sources.items():
                skipped = max(0, done - total)
                numbers[source] = 0
                for document in documents():
                    signals.check()
                    numbers[source] += 1
                    total += 1
                    if numbers[source] <= skipped:
                        continue
                    self._write(document, files)
                    if time.monotonic() - saved > _INTERVAL:
                        self._save(files, total, None)
                        saved = time.monotonic()
            self._save(files, total, numbers)
        finally:
            for file in files.values():
                file.close()
        return numbers

    def _done(self, sizes: Mapping[str, int]) -> int:
        """Return the number of documents that are completely on disk, and remove what is behind them."""
        done = 0
        if (self._folder / _PROGRESS).is_file():
            done = read_json(self._folder / _PROGRESS)["documents"]
            paths = {self._folder / name: size for name, size in sizes.items()}
            done = min(done, *(path.stat().st_size // size if path.exists() else 0 for path, size in paths.items()))
        for name, size in sizes.items():
            with (self._folder / name).open("ab") as file:
                file.truncate(done * size)
        return done

    def _save(self, files: Mapping[str, IO[bytes]], documents: int, sources: Mapping[str, int] | None) -> None:
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        write_json(self._folder / _PROGRESS, {"documents": documents, "sources": sources})

    def _write(self, document: RawDocument, files: Mapping[str, IO[bytes]]) -> None:
        record = np.zeros(1, self._type)
        digest, characters, beginning = hashlib.sha256(), 0, ""
        if self._signatures is not None:
            self._signatures.begin()
        for chunk in self._cleaning.apply(document.read(), record["replaced"][0]):
            signals.check()
            content = chunk.encode()
            digest.update(content)
            characters += len(chunk)
            if len(beginning) < BEGINNING:
                beginning += chunk[: BEGINNING - len(beginning)]
            if self._signatures is not None:
                self._signatures.read(chunk)
            self._bar.advance(len(content))
        record["sha256"][0] = np.frombuffer(digest.digest(), np.uint8)
        record["characters"] = characters
        failed = (place for place, one in enumerate(self._cleaning.filters, 1) if not one.keeps(beginning, characters))
        record["removed"] = next(failed, 0)
        files[_RECORDS].write(record.tobytes())
        if self._signatures is not None:
            signature_H = self._signatures.end()
            files[_SIGNATURES].write((np.zeros(HASHES, np.uint32) if signature_H is None else signature_H).tobytes())


def _decide(cleaning: Cleaning, folder: Path, numbers: Mapping[str, int], split_of: SplitOf) -> None:
    """Complete ``folder`` by the decisions about duplicates."""
    records = np.fromfile(folder / _RECORDS, _type_of(cleaning))
    first, rank = 0, np.empty(len(records), np.int8)
    for source, number in numbers.items():
        own = slice(first, first + number)
        splits = split_of(source, places(records["sha256"][own]))
        rank[own] = np.select([splits == "test", splits == "validation"], [0, 1], 2)
        first += number
    order = np.argsort(rank, kind="stable")
    if cleaning.exact_duplicates:
        of_order = order[records["removed"][order] == 0]
        checksums = np.ascontiguousarray(records["sha256"][of_order, :16]).view("S16")[:, 0]
        _, firsts = np.unique(checksums, return_index=True)
        duplicate = np.ones(len(of_order), bool)
        duplicate[firsts] = False
        records["removed"][of_order[duplicate]] = 1 + [*reasons(cleaning)].index("exact_duplicates")
    if cleaning.near_duplicates is not None and len(records):
        signatures_NH = np.memmap(folder / _SIGNATURES, np.uint32, "r").reshape(-1, HASHES)
        removed = near_duplicates(signatures_NH, order[records["removed"][order] == 0], cleaning.near_duplicates)
        records["removed"][removed] = 1 + [*reasons(cleaning)].index("near_duplicates")
    np.save(folder / _DECISIONS, records)
    for name in (_RECORDS, _SIGNATURES):
        (folder / name).unlink(missing_ok=True)
    flush(folder)
