"""Any local files of text."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, combinations
from math import ceil
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from lmlab.config.local_data import HELD_OUT
from lmlab.data.cleaning.cleaning import Cleaning
from lmlab.data.cleaning.survey import Survey, summary
from lmlab.data.corpora.corpus import SPLITS, Corpus
from lmlab.data.corpora.documents import Form, Passage, RecordFile
from lmlab.data.corpora.files import TextFile
from lmlab.data.corpora.folders import Finder, as_option, is_about, named_splits, names, paths_at, visible
from lmlab.data.corpora.inspector import Inspector
from lmlab.data.corpora.splits import place_of, splits_at, widened
from lmlab.errors import UserError, nearest
from lmlab.progress import ProgressBar
from lmlab.surroundings import matches

_DOCUMENTS_TO_SPLIT_BY = 20
_NO_SPLIT = ""  # for files that do not belong to a split


class _Document(Protocol):
    """The text of a document, in memory or in a file."""

    @property
    def characters(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]: ...

    def line_end(self, index: int) -> int: ...


_Rule = Callable[[_Document, str], tuple[int, int]]
"""From a document and a split to the document's characters that belong to the split: the first, and the end."""


class Text(Corpus):
    """Text from files and folders that the user names.

    Files are text, or records in JSON lines, a JSON list, CSV, TSV or parquet; all but parquet also packed (.gz, .bz2,
    .xz, .zst). Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark, which is removed. Folders are searched
    recursively, also through links. In a folder, hidden, empty and binary files (a NUL byte in the first 8 KiB), files
    that are not UTF-8 or lack the field with the text, and lmlab's own outputs are passed over and named. Files of
    equal content count once.

    Paths given by split are used as these splits. So is a folder that holds only files, or folders, named like splits.
    Other text is split here. With 20 documents or more, a hash of its text assigns each document to a split, so that
    further files move none; a held-out split that has none by its share has the one of the nearest hash. With fewer,
    every document is cut in three at line ends: the beginning trains, the end is held out. If it has so few lines that
    a split would be empty, it is cut within lines.

    Args:
        paths: a file, a folder or a path with wildcards, or a list of them; ``~`` is expanded. Or such a value for each
            of ``train``, ``validation`` and, if there is one, ``test``.
        validation: share of the documents, or of each, for the validation split, if ``paths`` are not given by split.
        test: the same for the test split; 0 for none.
        documents: a document is a ``file``, a ``line`` or a ``record``; ``None``: a record of files with records, and
            otherwise a file. Configurations of versions without this option have ``file``.
        field: the field of records with the text; ``None``: ``text``, or the only field that is a text.
        on_error: ``fail`` at a malformed record or a damaged file, or ``skip`` it.
        stream: train on the first shards while the rest is prepared.
        clean: which documents stay and how their text is changed, before they are split; ``None``: all as they are.

    Raises:
        UserError: the shares are not positive (validation) or not below 1 together, or a split is missing or unknown.
    """

    name = "text"
    licence = "the user's own"

    def __init__(
        self,
        paths: dict[str, Any] | list[str] | str,
        validation: float = HELD_OUT,
        test: float = HELD_OUT,
        documents: Literal["file", "line", "record"] | None = "file",
        field: str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        clean: Cleaning | None = None,
        stream: bool = False,
    ) -> None:
        super().__init__(stream)
        if not 0 < validation < 1:
            raise UserError(f"data.validation={validation}: expected a share above 0 and below 1")
        if not 0 <= test < 1 - validation:
            raise UserError(f"data.test={test}: expected a share of at least 0 that leaves some text for training")
        if field is not None and documents in ("file", "line"):
            raise UserError(
                f"data.field={field}: changes nothing with data.documents={documents}; leave one of them out"
            )
        self.validation = validation
        self.test = test
        self.splits = SPLITS if test else SPLITS[:2]
        self._form = Form(documents, field, on_error)
        self._clean = clean if clean is not None and clean.options else None
        self._survey: Survey | None = None
        self._own: dict[str, list[Path]] | None = None
        self._paths: list[Path] = []
        self._rule: _Rule = self._whole
        self._at_lines = True
        self._ends: dict[tuple[str, int], int] = {}
        if isinstance(paths, Mapping):
            self._own = _by_split(paths)
            self.splits = tuple(self._own)
        else:
            self._paths = paths_at(paths, "data.paths")

    def check(self) -> None:
        splits = self._own or self._splits_by_name([]) or {}
        for option in ("validation", "test") if splits else ():
            if (share := getattr(self, option)) != HELD_OUT:
                raise UserError(
                    f"data.{option}={share:g}: changes nothing, data.paths has splits of its own "
                    f"({', '.join(splits)}); leave it out, or give the text in one piece"
                )

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._cache = cache
        self._find_files(cache)
        if self._clean is not None:
            self._survey_documents(self._clean, progress)
        self._split()
        if self._survey is not None:
            self.notes = (*self.notes, summary(self._counts(self._survey), self._survey.cleaning))
        if self._rule == self._cut and self._missing():
            self._at_lines = False
            for split in self._missing():
                self._refuse_too_little(split)

    def chunks(self, split: str) -> Iterator[Iterator[str]]:
        for document in self._documents(split):
            first, end = self._rule(document, split)
            if first < end:
                yield document.read(first, end)

    def documents(self, split: str) -> Iterator[str]:
        return ("".join(chunks) for chunks in self.chunks(split))

    def size(self, split: str) -> int | None:
        files, share = self._files.get(split), 1.0
        if files is None:
            shares = {"train": 1 - self.validation - self.test, "validation": self.validation, "test": self.test}
            files, share = self._files[_NO_SPLIT], shares[split]
        size = _size_of(files)
        return None if size is None else round(share * size)

    def fingerprint(self) -> str:
        files = [f"{split} {file.sha256}" for split, files in self._files.items() for file in files]
        rule = f"{self._rule.__name__} {self._at_lines} {self.validation} {self.test}"
        if self._survey is not None:
            files = [f"{source} {self._survey.fingerprint(source)}" for source in self._files]
        key = hashlib.sha256("\n".join([*self.splits, rule, *files]).encode()).hexdigest()
        if self._survey is not None or any(isinstance(file, RecordFile) for file in self._all_files()):
            return key  # it covers every document, and reading all of them once more would take long
        return Inspector(self._cache).remember(key, super().fingerprint)

    def checksum(self, cache: Path) -> str:
        self._find_files(cache)
        digest = hashlib.sha256()
        for split, files in self._files.items():
            for file in files:
                digest.update(f"{split} {file.sha256}\n".encode())
        if self._clean is None:
            self._split()
            if self._rule == self._by_hash:  # earlier versions held out other files
                digest.update(b"by hash\n")
        return digest.hexdigest()

    def cleaned(self) -> dict[str, Any]:
        if self._survey is None:
            return {}
        return {"options": self._survey.cleaning.options, "splits": self._counts(self._survey)}

    def _counts(self, survey: Survey) -> dict[str, dict[str, int]]:
        return survey.counts(partial(self._splits_of, self._rule == self._by_hash))

    def _splits_of(self, by_hash: bool, source: str, places: np.ndarray) -> np.ndarray:
        return splits_at(places, self._bounds) if by_hash else np.full(len(places), source or "all")

    def _survey_documents(self, cleaning: Cleaning, progress: bool) -> None:
        """Decide which documents stay; the splits of those that are split by hash are known from their text."""
        files = [f"{source} {file.sha256}" for source, files in self._files.items() for file in files]
        by_hash = _NO_SPLIT in self._files and sum(file.number for file in self._all_files()) >= _DOCUMENTS_TO_SPLIT_BY
        sources = {source: partial(self._raw, source) for source in self._files}
        content = hashlib.sha256("\n".join([f"{self._bounds} {by_hash}", *files]).encode()).hexdigest()
        with ProgressBar(f"Cleaning {self.name}", _size_of([*self._all_files()]), progress) as bar:
            split_of = partial(self._splits_of, by_hash)
            self._survey = Survey.of(cleaning, sources, content, split_of, self._cache, bar)

    def _all_files(self) -> Iterator[TextFile | RecordFile]:
        return chain.from_iterable(self._files.values())

    def _raw(self, source: str) -> Iterator[TextFile | Passage]:
        return (document for file in self._files[source] for document in file.documents())

    def _documents(self, split: str) -> Iterator[_Document]:
        """Yield the documents of a split, or all if they are still to be split."""
        source = split if split in self._files else _NO_SPLIT
        return self._raw(source) if self._survey is None else self._survey.kept(source, self._raw(source))

    def _whole(self, document: _Document, split: str) -> tuple[int, int]:
        return 0, document.characters

    def _by_hash(self, document: _Document, split: str) -> tuple[int, int]:
        place = place_of(document.sha256)
        own = "validation" if place < self._bounds[0] else "test" if place < self._bounds[1] else "train"
        return 0, document.characters if own == split else 0

    def _cut(self, document: _Document, split: str) -> tuple[int, int]:
        first = self._end(document, round(document.characters * (1 - self.validation - self.test)))
        second = self._end(document, round(document.characters * (1 - self.test)))
        return {"train": (0, first), "validation": (first, second), "test": (second, document.characters)}[split]

    def _end(self, document: _Document, index: int) -> int:
        """Return where a document is cut near ``index``."""
        if not self._at_lines:
            return index
        if isinstance(document, Passage):
            return document.line_end(index)
        key = document.sha256, index
        if key not in self._ends:  # reading the file takes long
            self._ends[key] = document.line_end(index)
        return self._ends[key]

    def _missing(self) -> list[str]:
        """Return the splits in which no document has any text; it stops reading when it has seen all of them."""
        missing = [*self.splits]
        for document in self._documents(_NO_SPLIT):
            bounds = {split: self._rule(document, split) for split in missing}
            missing = [split for split, (first, end) in bounds.items() if first >= end]
            if not missing:
                break
        return missing

    def _refuse_too_little(self, split: str) -> None:
        characters = sum(document.characters for document in self._documents(_NO_SPLIT))
        share = {"train": 1 - self.validation - self.test, "validation": self.validation, "test": self.test}[split]
        least = max(len(self.splits), ceil(1 / share))
        instead = {"train": "smaller shares for the others", "validation": "a larger data.validation"}
        there = "is 1 character" if characters == 1 else f"are {characters:,} characters"
        raise UserError(
            f"data.paths: too little text to have a {split} split: there {there}, a share of {share:g} takes about "
            f"{least:,}; give more text, or choose {instead.get(split, 'data.test=0')}"
        )

    def _find_files(self, cache: Path) -> None:
        """Find the files by split, each content once; all under ``_NO_SPLIT`` if they have no splits."""
        with ProgressBar(f"Reading {self.name}", None, self.progress) as bar:
            self._inspect_files(Inspector(cache, bar.advance))
        self._bounds = self.validation, self.validation + self.test  # of the hashes of held-out documents

    def _inspect_files(self, inspector: Inspector) -> None:
        notes: list[str] = []
        finder: Finder[TextFile | RecordFile] = Finder(
            partial(inspector.inspect, form=self._form), self._form.on_error == "fail"
        )
        by_split: dict[str, dict[str, TextFile | RecordFile]] = {}
        for split, paths in (self._own or self._splits_by_name(notes) or {_NO_SPLIT: self._paths}).items():
            option = f"data.{split}" if self._own and split in SPLITS else "data.paths"
            contents = by_split.setdefault(split, {})
            for path in paths:
                for file in finder.files(path, option):
                    if contents.setdefault(file.sha256, file) is not file:
                        finder.passed_over.add("equal to another", file.path.name)
        inspector.save()
        self._files = {split: [*contents.values()] for split, contents in by_split.items()}
        files = [file for files in self._files.values() for file in files]
        if self._form.field is not None and all(isinstance(file, TextFile) for file in files):
            raise UserError(f"data.field={self._form.field}: changes nothing, no file has records; leave it out")
        notes += [*finder.notes, _read(files, str(finder.passed_over)), *_without_malformed(files)]
        for first, second in combinations(by_split, 2):
            if shared := by_split[first].keys() & by_split[second].keys():
                example = by_split[second][min(shared)].path
                notes.append(f"{second} has {len(shared)} file{'s' * (len(shared) > 1)} of {first} ({example})")
        if _NO_SPLIT not in by_split:
            self.splits = tuple(by_split)
        self.notes = tuple(f"data.paths: {note}" for note in notes if note)

    def _split(self) -> None:
        """Choose how documents are split, if they are not in splits, and add a note about it."""
        if _NO_SPLIT not in self._files:
            return
        number = sum(file.number for file in self._all_files())
        if note := self._choose_rule(number if self._survey is None else self._survey.number(_NO_SPLIT)):
            self.notes = (*self.notes, f"data.paths: {note}")

    def _choose_rule(self, number: int) -> str:
        """Choose how documents are split, and return a note about it."""
        if number >= _DOCUMENTS_TO_SPLIT_BY:
            self._rule = self._by_hash
            if not (missing := self._missing()):
                return ""
            self._widen_bounds()
            if not self._missing():
                splits, has = " and ".join(missing), "have" if missing[1:] else "has"
                return f"by its share of the hashes, {splits} {has} no document; instead, that of the nearest hash"
        self._rule = self._cut
        few = number < _DOCUMENTS_TO_SPLIT_BY
        why = f"fewer than {_DOCUMENTS_TO_SPLIT_BY} documents" if few else "a split has no document by its hash"
        return f"{why}, so each is cut at line ends: its beginning trains, its end is held out"

    def _widen_bounds(self) -> None:
        """Let each held-out split have the document with the nearest hash, if it has none."""
        self._bounds = widened(
            self._bounds, lambda: (place_of(document.sha256) for document in self._documents(_NO_SPLIT))
        )

    def _splits_by_name(self, notes: list[str]) -> dict[str, list[Path]] | None:
        """Return the splits of folders that hold only splits, by name; add a note about folders that are mixed.

        Raises:
            UserError: there are other files beside them, or there is none for the validation split.
        """
        splits: dict[str, list[Path]] = {}
        unnamed = []
        for path in self._paths:
            inside = visible(path) if path.is_dir() else []
            named = named_splits(inside)
            taken = set(chain.from_iterable(named.values()))
            others = [other for other in inside if other not in taken and not is_about(other)]
            if named and (others or "validation" not in named):
                why = f"beside others ({names(others)})" if others else "but none for validation"
                raise UserError(
                    f"data.paths={path}: holds files named like splits, {why}; expected the splits, as in "
                    f"{as_option(named)}, or a list of all that is to be cut and mixed"
                )
            for split in named:
                splits.setdefault(split, []).extend(named[split])
            if not named:
                unnamed.append(path)
        if not splits:
            if named := named_splits(chain.from_iterable(map(matches, self._paths))):
                notes.append(f"cut and mixed, though named like splits; {as_option(named)} keeps them apart")
            return None
        if unnamed:
            raise UserError(
                f"data.paths: {names(unnamed)} is next to a folder of files named like splits; expected the splits, "
                f"as in {as_option(splits)}"
            )
        by_split = "; ".join(f"{split}: {names(splits[split])}" for split in SPLITS if split in splits)
        notes.append(f"used as splits by their names ({by_split})")
        return {split: splits[split] for split in SPLITS if split in splits}


class WholeText(Text):
    """Text from files and folders as one split, ``text``, to be scored. The arguments are those of :class:`Text`."""

    def __init__(
        self,
        paths: list[str] | str,
        documents: Literal["file", "line", "record"] | None = None,
        field: str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
    ) -> None:
        super().__init__(paths, documents=documents, field=field, on_error=on_error)
        self._own = {"text": self._paths}
        self.splits = ("text",)


def _size_of(files: Sequence[TextFile | RecordFile]) -> int | None:
    """Return the characters of files; ``None`` if that is not known."""
    sizes = [file.characters for file in files if isinstance(file, TextFile)]
    return sum(sizes) if len(sizes) == len(files) else None


def _read(files: Sequence[TextFile | RecordFile], passed_over: str) -> str:
    """Return a note about the files that are read and passed over."""
    parts = [f"{len(files):,} file{'s' * (len(files) != 1)} read"]
    with_records = [file for file in files if isinstance(file, RecordFile)]
    if with_records:
        number, empty = (sum(getattr(file, name) for file in with_records) for name in ("number", "empty"))
        fields = sorted({repr(file.field) for file in with_records if file.field is not None})
        kind = f"records (field {', '.join(fields)})" if fields else "lines"
        without = f" and {empty:,} without text" if empty and fields else ""
        parts.append(f", {number:,} {kind}{without}")
    return "".join([*parts, f"; passed over: {passed_over}" if passed_over else ""])


def _without_malformed(files: Sequence[TextFile | RecordFile]) -> Iterator[str]:
    malformed = [file for file in files if isinstance(file, RecordFile) and file.malformed]
    if malformed:
        number = sum(file.malformed for file in malformed)
        yield f"{number:,} malformed record{'s' * (number != 1)} left out; the first: {malformed[0].problem}"


def _by_split(paths: Mapping[str, Any]) -> dict[str, list[Path]]:
    for split in paths:
        if split not in SPLITS:
            raise UserError(f"data.paths.{split}: no such split{nearest(split, SPLITS)}")
    for split in SPLITS[:2]:
        if split not in paths:
            raise UserError(f"data.{split} has no value: expected the files of the {split} split")
    return {split: paths_at(paths[split], f"data.{split}") for split in SPLITS if paths.get(split) is not None}
