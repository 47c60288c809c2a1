"""Examples from files: where they are, what is wrong with a record, and which records are left out."""

import csv
import hashlib
import inspect
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmlab.data.corpora.corpus import SPLITS
from lmlab.data.corpora.documents import Form
from lmlab.data.corpora.files import TextFile, Unreadable
from lmlab.data.corpora.folders import named_splits, visible
from lmlab.data.corpora.inspector import Inspector
from lmlab.data.examples.examples import Examples
from lmlab.data.examples.template import Example
from lmlab.errors import UserError, nearest
from lmlab.numerals import counted
from lmlab.runs.files import dumps
from lmlab.surroundings import expanded

Record = dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A record that cannot be read, or that makes no example.

    Attributes:
        reason: the reason, without the record's place.
        skippable: the records after it can be read, and more of them may be right.
    """

    reason: str
    skippable: bool = True


class FromFiles(Examples):
    """Examples from files below the folder of corpora, or from the user's own.

    Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark, which is removed.

    Args:
        name: its name in runs.
        licence: the licence as its publisher states it.
        template, metrics, length, loss, decoding: see :class:`Examples`.
        in_corpora: for each split a pattern below the folder of corpora that one file matches. Splits without a file
            are left out.
        paths: the user's own files instead: for each of ``train``, ``validation`` and ``test`` a file or a list of
            them, or a folder with files named like splits. Files without splits can be scored, but not trained on.
        on_error: fail at a malformed record, or skip it; the number of skipped records is shown and recorded.

    Raises:
        UserError: neither ``in_corpora`` nor ``paths`` has a value, or an option has a value that it cannot have.
    """

    empty_answers = False
    """The empty text can be a right answer."""

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
        if not self._patterns and self._paths is None:
            raise UserError(
                "data.paths has no value: expected the files of each split, as in "
                "'data.paths={train: train.jsonl, validation: dev.jsonl}'"
            )
        self.splits = tuple(self._paths or self._patterns)
        self._files: dict[str, list[tuple[TextFile, ...]]] = {}

    @abstractmethod
    def read(self, files: tuple[TextFile, ...]) -> Iterator[tuple[str, Record | Malformed]]:
        """Yield the records of a file, or of several that belong together, each with its place: ``line 3``."""

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names of the files that belong together under one name; by default it is one file."""
        return (name,)

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        groups = self._in_corpora(corpora) if self._paths is None else self._paths
        self._files = self._inspected(groups, cache)
        self.splits = tuple(groups)

    def checksum(self, cache: Path) -> str | None:
        if self._paths is None:
            return None
        return _checksum(self._inspected(self._paths, cache))

    def records(self, split: str) -> Iterator[Record]:
        skipped, problem = 0, ""
        self.skipped.pop(split, None)
        for files in self._files[split]:
            for place, record in self.read(files):
                fault = record if isinstance(record, Malformed) else self.fault(record)
                if fault is None:
                    assert not isinstance(record, Malformed)
                    yield record
                    continue
                skipped, problem = skipped + 1, problem or f"{files[0].path}, {place}: {fault.reason}"
                self.skipped[split] = skipped, problem
                if not fault.skippable:
                    raise UserError(f"{files[0].path}, {place}: {fault.reason}")
                if self.on_error == "fail":
                    raise UserError(f"{problem}; mend it, or data.on_error=skip leaves out such records")

    def fault(self, record: Record) -> Malformed | None:
        """Return what is wrong with a record. Numbers in fields that the template uses become texts.

        The reason names the first field of the template that the record lacks, or that is no text.
        """
        for name in self.template.fields:
            if name not in record:
                return Malformed(
                    f"no field {name}, which data.template names{nearest(name, map(str, record), listed=20)}"
                )
            text = as_text(record[name])
            if isinstance(text, Malformed):
                return Malformed(f"field {name} is {text.reason}")
            record[name] = text
        self.template.check(record)
        if not self.empty_answers and "" in self.template(record).references:
            return Malformed("its answer is empty")
        return None

    def fingerprint(self) -> str:
        code = (type(self), FromFiles, Example)
        parts = [
            *(hashlib.sha256(Path(inspect.getfile(part)).read_bytes()).hexdigest() for part in code),
            type(self).__qualname__,
            self.options(),
            _checksum(self._files),
        ]
        return hashlib.sha256(dumps(parts).encode()).hexdigest()

    def options(self) -> dict[str, Any]:
        """Return the options that the examples depend on, besides the content of files."""
        return {**self.template.options, "on_error": self.on_error}

    def _by_split(self, paths: dict[str, Any] | list[str] | str) -> dict[str, list[tuple[Path, ...]]]:
        if isinstance(paths, Mapping):
            for split in paths:
                if split not in SPLITS:
                    raise UserError(f"data.paths.{split}: no such split{nearest(split, SPLITS)}")
            splits = {split: paths[split] for split in SPLITS if paths.get(split) is not None}
        else:
            folder = expanded(paths) if isinstance(paths, str) and paths else None
            if folder is not None and folder.is_dir():
                splits = {split: list(map(str, inside)) for split, inside in named_splits(visible(folder)).items()}
                if not splits:
                    raise UserError(
                        f"data.paths={paths}: holds no files named like splits; expected as in {_example(folder)}"
                    )
                splits = {split: splits[split] for split in SPLITS if split in splits}
            else:
                splits = {"validation": paths}
        return {split: self._groups(value, f"data.paths.{split}") for split, value in splits.items()}

    def _groups(self, value: Any, option: str) -> list[tuple[Path, ...]]:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not values or not all(isinstance(each, str) and each for each in values):
            raise UserError(f"{option}={value}: expected a file, or a list of files")
        return [tuple(expanded(name) for name in self.names(each)) for each in values]

    def _in_corpora(self, corpora: Path | None) -> dict[str, list[tuple[Path, ...]]]:
        """Return the files below the folder of corpora that the patterns match. Raises ``UserError``."""
        own = "set LMLAB_CORPORA to a folder that holds it, or name your own files with data.paths"
        first = next(iter(self._patterns.values()))
        if corpora is None:
            raise UserError(f"data={self.name}: needs the files {first}; {own}")
        if not corpora.is_dir():
            raise UserError(f"paths.corpora={corpora}: there is no such folder (see also LMLAB_CORPORA)")
        splits: dict[str, list[tuple[Path, ...]]] = {}
        for split, pattern in self._patterns.items():
            files = [sorted(corpora.glob(name)) for name in self.names(pattern)]
            for several in files:
                if len(several) > 1:
                    named = ", ".join(path.name for path in several)
                    raise UserError(
                        f"data={self.name}: several files of {corpora} match {pattern} ({named}); keep one of them, "
                        "or name it with data.paths"
                    )
            if all(files):
                splits[split] = [tuple(path for (path,) in files)]
            elif any(files):
                missing = next(name for name, some in zip(self.names(pattern), files, strict=True) if not some)
                raise UserError(f"data={self.name}: {corpora} has no {missing}{self.hint(corpora, pattern)}")
        if not splits:
            raise UserError(f"data={self.name}: {corpora} has no {self.names(first)[0]}; {own}")
        return splits

    def hint(self, corpora: Path, pattern: str) -> str:
        """Return a text for the end of a message about files that are missing; by default there is none."""
        return ""

    def _inspected(
        self, groups: Mapping[str, list[tuple[Path, ...]]], cache: Path
    ) -> dict[str, list[tuple[TextFile, ...]]]:
        inspector = Inspector(cache)
        option = "data.paths" if self._paths is not None else f"data={self.name}"

        def inspect_one(path: Path) -> TextFile:
            if not path.is_file():
                beside = (other.name for other in path.parent.iterdir()) if path.parent.is_dir() else ()
                near = nearest(path.name, beside)
                raise UserError(f"{option}: there is no file {path}{near if 'did you mean' in near else ''}")
            try:
                content = inspector.inspect(path, Form("file"))
            except OSError as error:
                raise UserError(f"{option}: {path} cannot be read ({error.strerror})") from error
            if isinstance(content, Unreadable):
                raise UserError(f"{option}: {content.message}")
            assert isinstance(content, TextFile)  # a document is a file
            return content

        files = {
            split: [tuple(inspect_one(path) for path in group) for group in some] for split, some in groups.items()
        }
        inspector.save()
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
        return Malformed("missing" if value is None else "a section, and not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return Malformed(f"no valid text (half a surrogate pair at character {error.start:,})")
    return value


def lines(file: TextFile) -> Iterator[str]:
    """Yield the lines of a file without their ends; other separators than a line feed belong to the text."""
    rest = ""
    for chunk in file.read():
        *whole, rest = (rest + chunk).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
    if rest:
        yield rest.removesuffix("\r")


def json_lines(file: TextFile) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the objects of JSON lines; empty lines are none."""
    for number, line in enumerate(lines(file), 1):
        if line.strip():
            yield f"line {number:,}", _object(line)


def json_list(file: TextFile) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the objects of a JSON list."""
    values = parsed("".join(file.read()))
    if isinstance(values, Malformed):
        yield "its content", values
    elif not isinstance(values, list):
        yield "its content", Malformed("expected a list of records", skippable=False)
    else:
        for number, value in enumerate(values, 1):
            yield f"record {number:,}", value if isinstance(value, dict) else Malformed("no object with fields")


def table(file: TextFile) -> Iterator[tuple[str, Record | Malformed]]:
    """Yield the rows of CSV or TSV below the header; quotes may enclose line ends."""
    csv.field_size_limit(1 << 30)  # the library's default refuses fields of more than 128 KiB
    separator = "\t" if file.path.suffix.lower() == ".tsv" else ","
    rows = csv.reader((f"{line}\n" for line in lines(file)), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        place = f"line {rows.line_num + 1:,}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, Malformed(f"{error}")
            continue
        if header is None:
            header = row
        elif row:
            fits = len(row) == len(header)
            reason = f"{counted(len(row), 'field')}, expected {len(header)} as in the header"
            yield place, dict(zip(header, row, strict=True)) if fits else Malformed(reason)


READERS = {".jsonl": json_lines, ".ndjson": json_lines, ".json": json_list, ".csv": table, ".tsv": table}
"""Readers of records, by the ending of a file's name."""


def parsed(text: str) -> Any:
    """Return the value of a JSON text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"at character {error.pos + 1:,}" if error.lineno == 1 else f"at line {error.lineno:,}"
        return Malformed(f"not JSON ({error.msg}, {where})", skippable=False)
    except RecursionError:
        return Malformed("not JSON (it is nested too deeply)", skippable=False)


def _object(text: str) -> Record | Malformed:
    value = parsed(text)
    if isinstance(value, Malformed):
        return Malformed(value.reason)  # the next line may be right
    return value if isinstance(value, dict) else Malformed("no object with fields")


def _checksum(files: Mapping[str, list[tuple[TextFile, ...]]]) -> str:
    digest = hashlib.sha256()
    for split, groups in files.items():
        for group in groups:
            digest.update(f"{split} {' '.join(file.sha256 for file in group)}\n".encode())
    return digest.hexdigest()


def _example(folder: Path) -> str:
    return f"'data.paths={{train: {folder}/train.jsonl, validation: {folder}/dev.jsonl}}'"
