"""Examples from files: where they are, what is wrong with a record, and which records are left out."""

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lmlab.config.local_data import HELD_OUT
from lmlab.data.corpora.corpus import SPLITS
from lmlab.data.corpora.documents import MEND
from lmlab.data.corpora.folders import Finder, named_splits, names_at, visible
from lmlab.data.corpora.inspector import Inspector
from lmlab.data.corpora.records import Malformed, Record, SourceFile, kind_of
from lmlab.data.corpora.splits import Bounds, place_in, split_at, widened
from lmlab.data.examples.examples import Examples
from lmlab.data.examples.template import Example
from lmlab.errors import UserError, nearest
from lmlab.runs.files import dumps
from lmlab.surroundings import expanded

_Groups = Mapping[str, list[tuple[Path, ...]]]
"""For each split paths, or wildcards, of files that belong together."""
_Files = dict[str, list[tuple[SourceFile, ...]]]

ALL = "all"
"""The split of files without splits, where they are scored and not trained on."""


class FromFiles(Examples):
    """Examples from files below the folder of corpora, or from the user's own.

    Files are found and read as those of :class:`lmlab.data.corpora.Text`.

    Args:
        name: its name in runs.
        licence: the licence as its publisher states it.
        template, metrics, length, loss, decoding: see :class:`Examples`.
        in_corpora: for each split a pattern below the folder of corpora that one file matches. Splits without a file
            are left out.
        paths: the user's own files instead: for each of ``train``, ``validation`` and ``test`` a file, a folder or a
            path with wildcards, or a list of them; or a folder with files named like splits. Files without splits are
            divided: a hash of the fields in the template's input assigns each record, so that equal inputs are in one
            split.
        on_error: fail at a malformed record, or skip it; the number of skipped records is shown and recorded.

    Raises:
        UserError: neither ``in_corpora`` nor ``paths`` has a value, or an option has a value that it cannot have.
    """

    empty_answers = False
    """The empty text can be a right answer."""
    documents: Literal["record"] | None = "record"
    """Content of a file; ``None``: records if it has them, otherwise one text. Files that belong together are lines."""

    def __init__(
        self,
        name: str,
        licence: str,
        template: Mapping[str, Any],
        metrics: list[Any],
        length: int,
        loss: Literal["answer", "all"] = "answer",
        in_corpora: Mapping[str, str] | None = None,
        paths: dict[str, Any] | list[str] | str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(template, metrics, length, loss, decoding)
        self.name = name
        self.licence = licence if paths is None else "the user's own"
        self.on_error = on_error
        self._patterns = dict(in_corpora or {})
        self._paths = None if paths is None else self._by_split(paths)
        if not (self._patterns if self._paths is None else self._paths):
            raise UserError(
                "data.paths has no value: expected the files of each split, as in "
                "'data.paths={train: train.jsonl, validation: dev.jsonl}'"
            )
        self._divides = True
        self._set_files({split: [] for split in self._paths or self._patterns})

    @abstractmethod
    def read(self, files: tuple[SourceFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        """Yield the records of a file, or of several that belong together, each with its place: ``line 3``."""

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names of the files that belong together under one name; by default it is one file."""
        return (name,)

    def use_as_one(self) -> None:
        self._divides = False
        self._set_files(self._files)

    def _set_files(self, files: _Files) -> None:
        self._files = files
        self._is_divided = ALL in files and self._divides
        self._bounds: Bounds | None = None
        self.splits = SPLITS if self._is_divided else tuple(files)

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._set_files(self._inspected(self._in_corpora(corpora) if self._paths is None else self._paths, cache))

    def checksum(self, cache: Path) -> str | None:
        return None if self._paths is None else _checksum(self._inspected(self._paths, cache))

    def records(self, split: str) -> Iterator[Record]:
        if not self._is_divided:
            yield from self._without_faults(split, split)
            return
        if self._bounds is None:
            everything = partial(self._without_faults, ALL, "train")
            self._bounds = widened((HELD_OUT, 2 * HELD_OUT), lambda: map(self._place, everything()))
        for record in self._without_faults(ALL, "train"):
            if split_at(self._place(record), self._bounds) == split:
                yield record

    def _place(self, record: Record) -> float:
        return place_in(dumps([record[name] for name in self.template.input_fields or self.template.prompt_fields]))

    def _without_faults(self, split: str, counted: str) -> Iterator[Record]:
        """Yield the records of the files of a split without the malformed ones, which are counted under a split."""
        number, problem = 0, ""
        self.skipped.pop(counted, None)
        for files in self._files[split]:
            for place, record in self.read(files):
                fault = record if isinstance(record, Malformed) else self.fault(record)
                if fault is None:
                    assert not isinstance(record, Malformed)
                    yield record
                    continue
                message = f"{files[0].path}, {place}: {fault.reason}"
                number, problem = number + 1, problem or message
                self.skipped[counted] = number, problem
                if fault.last:
                    raise UserError(f"{message}; the rest cannot be read")
                if self.on_error == "fail":
                    raise UserError(f"{message}; {MEND}")

    def fault(self, record: Record) -> Malformed | None:
        """Return what is wrong with a record. Numbers in fields that the template uses become texts.

        The reason names the first field of the template that the record lacks, or that is no text.
        """
        for name in self.template.fields:
            if name not in record:
                fields = nearest(name, map(str, record), listed=20)
                return Malformed(f"no field {name!r}, which data.template names{fields}")
            text = as_text(record[name])
            if isinstance(text, Malformed):
                return Malformed(f"field {name!r} is {text.reason}")
            record[name] = text
        self.template.check(record)
        if not self.empty_answers and "" in self.template(record).references:
            return Malformed("its answer is empty")
        return None

    def fingerprint(self) -> str:
        code = (type(self), FromFiles, Example, SourceFile)
        parts = [
            *(hashlib.sha256(Path(inspect.getfile(part)).read_bytes()).hexdigest() for part in code),
            type(self).__qualname__,
            self.options(),
            self.splits,
            _checksum(self._files),
        ]
        return hashlib.sha256(dumps(parts).encode()).hexdigest()

    def options(self) -> dict[str, Any]:
        """Return the options that the examples depend on, besides the content of files."""
        return {**self.template.options, "on_error": self.on_error}

    def _by_split(self, paths: dict[str, Any] | list[str] | str) -> _Groups:
        if isinstance(paths, Mapping):
            for split in paths:
                if split not in SPLITS:
                    raise UserError(f"data.paths.{split}: no such split{nearest(split, SPLITS)}")
            splits = {split: paths[split] for split in SPLITS if paths.get(split) is not None}
            return {split: self._groups(value, f"data.paths.{split}") for split, value in splits.items()}
        folder = expanded(paths) if isinstance(paths, str) and paths else None
        named = named_splits(visible(folder)) if folder is not None and folder.is_dir() else {}
        if named:
            return {
                split: self._groups(list(map(str, named[split])), "data.paths") for split in SPLITS if split in named
            }
        return {ALL: self._groups(paths, "data.paths")}

    def _groups(self, value: Any, option: str) -> list[tuple[Path, ...]]:
        return [tuple(map(expanded, self.names(name))) for name in names_at(value, option)]

    def _in_corpora(self, corpora: Path | None) -> _Groups:
        """Return the files below the folder of corpora that the patterns match. Raises ``UserError``."""
        own = "set LMLAB_CORPORA to a folder that holds it, or name your own files with data.paths"
        first = next(iter(self._patterns.values()))
        if corpora is None:
            raise UserError(f"data={self.name}: needs the files {first}; {own}")
        if not corpora.is_dir():
            raise UserError(f"paths.corpora={corpora}: there is no such folder (see also LMLAB_CORPORA)")
        splits: dict[str, list[tuple[Path, ...]]] = {}
        for split, pattern in self._patterns.items():
            files = {name: sorted(corpora.glob(name)) for name in self.names(pattern)}
            for several in files.values():
                if len(several) > 1:
                    named = ", ".join(path.name for path in several)
                    raise UserError(
                        f"data={self.name}: several files of {corpora} match {pattern} ({named}); keep one of them, "
                        "or name it with data.paths"
                    )
            if all(files.values()):
                splits[split] = [tuple(path for (path,) in files.values())]
            elif any(files.values()):
                missing = next(name for name, paths in files.items() if not paths)
                raise UserError(f"data={self.name}: {corpora} has no {missing}{self.hint(corpora, pattern)}")
        if not splits:
            raise UserError(f"data={self.name}: {corpora} has no {self.names(first)[0]}; {own}")
        return splits

    def hint(self, corpora: Path, pattern: str) -> str:
        """Return a text for the end of a message about files that are missing; by default there is none."""
        return ""

    def _inspected(self, groups: _Groups, cache: Path) -> _Files:
        """Return the files, and note those of folders that are not read."""
        inspector = Inspector(cache)
        option = "data.paths" if self._paths is not None else f"data={self.name}"
        files: _Files = {}
        notes: list[str] = []
        for split, some in groups.items():
            files[split] = []
            for group in some:
                documents = self.documents if len(group) == 1 else "line"
                finder = Finder(partial(inspector.source, documents=documents), self.on_error == "fail")
                together = [list(finder.files(path, option)) for path in group]
                if len({len(several) for several in together}) > 1:
                    counts = " and ".join(f"{len(few):,} of {path}" for few, path in zip(together, group, strict=True))
                    raise UserError(f"{option}: there are {counts}; expected as many, since they belong together")
                files[split] += zip(*together, strict=True)
                notes += [f"passed over: {finder.passed_over}"] if str(finder.passed_over) else []
                notes += finder.notes
        inspector.save()
        self.notes = tuple(f"{option}: {note}" for note in notes)
        return files


def as_text(value: Any) -> str | list[str] | Malformed:
    """Return a value of a record as text, or as a list of texts; numbers are written as they are."""
    if isinstance(value, list):
        texts = [as_text(each) for each in value]
        if not texts:
            return Malformed("an empty list")
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is None:
            return [text for text in texts if isinstance(text, str)]
        return Malformed(f"a list with {wrong.reason if isinstance(wrong, Malformed) else 'a list'}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        return Malformed("null" if value is None else f"{kind_of(value)}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return Malformed(f"no valid text (half a surrogate pair at character {error.start:,})")
    return value


def _checksum(files: _Files) -> str:
    digest = hashlib.sha256()
    for split, groups in files.items():
        for group in groups:
            digest.update(f"{split} {' '.join(file.sha256 for file in group)}\n".encode())
    return digest.hexdigest()
