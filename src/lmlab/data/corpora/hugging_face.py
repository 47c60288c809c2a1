"""Any data set of the ``datasets`` library: of the Hugging Face hub, or files of the formats that it reads."""

import hashlib
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from lmlab.data.cleaning.cleaning import Cleaning
from lmlab.data.cleaning.survey import Survey, summary
from lmlab.data.corpora.corpus import SPLITS, Corpus
from lmlab.data.corpora.documents import Passage
from lmlab.data.corpora.folders import names_at
from lmlab.data.corpora.inspector import Inspector
from lmlab.data.corpora.splits import Bounds, place_in, place_of, split_at, splits_at
from lmlab.data.corpora.stored_texts import StoredTexts, store
from lmlab.errors import Interrupted, UserError, first_line, nearest
from lmlab.progress import ProgressBar
from lmlab.runs.files import read_json, system_error, whole_folder, write_json
from lmlab.surroundings import expanded, matches

_FORMATS = {
    "json": ("jsonl", "ndjson", "json"),
    "parquet": ("parquet",),
    "csv": ("csv",),
    "text": ("txt",),
    "arrow": ("arrow",),
}
"""Formats of files that the library reads, with the endings of their names."""
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_SHARE = 0.05  # of the training split that is held out for validation if there is no such split
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class _Source:
    """A data set at the place where it is read.

    Attributes:
        arguments: arguments of ``datasets.load_dataset_builder``.
        option: the option that names it, with its value, for messages.
        version: commit on the hub, or checksum of the local files.
    """

    arguments: dict[str, Any]
    option: str
    version: str

    @property
    def on_hub(self) -> bool:
        return "revision" in self.arguments


class HuggingFace(Corpus):
    """The texts of a column of a data set, one document per row; rows without text are left out.

    The data set is streamed once, and the texts alone are kept in the cache. A copy in the user's folder of corpora,
    below the name of the data set, is read instead of the hub.

    Args:
        dataset: its name on the hub, like ``roneneldan/TinyStories``; with ``files``, their format: ``json`` (also JSON
            lines), ``parquet``, ``csv``, ``text`` or ``arrow``; ``None``: as the names of the files end.
        files: local files instead of a data set on the hub: a path, a pattern, or a list of them, or such a value for
            each split; or a folder with the files of a data set.
        subset: the subset, which the library calls configuration; ``None``: the only one.
        revision: commit, tag or branch on the hub; ``None``: the newest. A run records the commit.
        column: the column with the text; ``None``: ``text``, or the only one that holds texts.
        train: the split of the data set to train on, also a part of it like ``train[:1%]``.
        validation: such a split; or a share of the documents of ``train`` to hold out, by a hash of their text;
            ``None``: the split ``validation``, or a share of 0.05 if there is none.
        test: such a split or share, 0 for none; ``None``: the split ``test``, if there is one.
        limit: read only so many documents of ``train``, from its beginning; nothing else of it is downloaded.
        name: the name of the corpus in runs.
        licence: the licence as its publisher states it.
        stream: train on the first shards while the rest is tokenised.
        clean: which documents stay and how their text is changed, before they are split; ``None``: all as they are.

    Raises:
        UserError: options exclude each other or are out of range.
    """

    name = "hf"
    licence = "see its page on the hub"

    def __init__(
        self,
        dataset: str | None = None,
        files: dict[str, Any] | list[str] | str | None = None,
        subset: str | None = None,
        revision: str | None = None,
        column: str | None = None,
        train: str = "train",
        validation: str | float | None = None,
        test: str | float | None = None,
        limit: int | None = None,
        name: str | None = None,
        licence: str | None = None,
        clean: Cleaning | None = None,
        stream: bool = False,
    ) -> None:
        super().__init__(stream)
        if dataset is None and files is None:
            raise UserError("data.dataset has no value: expected the name of a data set on the hub, or data.files=")
        if files is not None and dataset is not None and dataset not in _FORMATS:
            raise UserError(f"data.dataset={dataset}: with data.files, expected a format{nearest(dataset, _FORMATS)}")
        if files is None and dataset in _FORMATS:
            raise UserError(f"data.files has no value: expected the files of data.dataset={dataset}")
        if files is not None and revision is not None:
            raise UserError(f"data.revision={revision}: files on this machine have no revisions")
        if limit is not None and limit < 1:
            raise UserError(f"data.limit={limit}: expected at least 1, or null for all")
        shares = {"validation": validation, "test": test}
        self._shares = {split: share for split, share in shares.items() if isinstance(share, (int, float))}
        if not 0 < self._shares.get("validation", _SHARE) < 1:
            raise UserError(f"data.validation={validation}: expected a share above 0 and below 1, or a split")
        held_out = self._shares.get("validation", _SHARE if validation is None else 0)
        if not 0 <= self._shares.get("test", 0) < 1 - held_out:
            raise UserError(f"data.test={test}: expected a share of at least 0 that leaves some text, or a split")
        self.dataset = dataset
        self.files = files
        self.subset = subset
        self.revision = revision
        self.column = column
        self.limit = limit
        self._own = {"train": train} | {split: own for split, own in shares.items() if isinstance(own, str)}
        self._clean = clean if clean is not None and clean.options else None
        self._survey: Survey | None = None
        self.name = name or self.name
        self.licence = licence or self.licence

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        source = self._source = self._locate(corpora, cache)
        with TemporaryDirectory(prefix=".hugging_face.", suffix=".tmp", dir=cache) as scratch:
            available = self._available(source, Path(scratch))
            self._choose_splits(available, source)
            self._texts = {}
            for split, own in self._own.items():
                folder = self._folder(source, split, own)
                if not self.download and source.on_hub and not folder.is_dir():
                    raise UserError(f"{source.option}: not in {folder.parent}; lmlab train downloads it")
                total = available.get(own) if self.limit is None or split != "train" else None
                fill = partial(self._store, source, split, Path(scratch), total, progress)
                self._texts[split] = whole_folder(folder, _stored, fill, resumable=True)
        if self._clean is not None:
            self._survey_texts(self._clean, progress)
        self._check_texts()
        without = {split: (texts.without_text, texts.rows) for split, texts in self._texts.items()}
        self.notes = tuple(
            f"{source.option}: {number:,} of {rows:,} documents of {self._own[split]} have no text and are left out"
            for split, (number, rows) in without.items()
            if number
        )
        if self._survey is not None:
            self.notes = (*self.notes, summary(self._survey.counts(self._splits_of), self._survey.cleaning))

    def documents(self, split: str) -> Iterator[str]:
        source = split if split in self._texts else "train"
        shared = source == "train" and any(self._shares.values())
        if self._survey is None:
            texts = iter(self._texts[source])
            return (text for text in texts if split_of(text, self._shares) == split) if shared else texts
        kept = self._survey.kept(source, map(Passage, self._texts[source]))
        own = (one for one in kept if not shared or split_at(place_of(one.sha256), _bounds(self._shares)) == split)
        return ("".join(document.read()) for document in own)

    def _survey_texts(self, cleaning: Cleaning, progress: bool) -> None:
        def documents(texts: StoredTexts) -> Iterator[Passage]:
            return map(Passage, texts)

        sources = {split: partial(documents, texts) for split, texts in self._texts.items()}
        with ProgressBar(f"Cleaning {self.name}", None, progress) as bar:
            content = self._fingerprint_of({split: texts.fingerprint for split, texts in self._texts.items()})
            self._survey = Survey.of(cleaning, sources, content, self._splits_of, self._cache, bar)

    def _splits_of(self, source: str, places: np.ndarray) -> np.ndarray:
        if source != "train":
            return np.full(len(places), source)
        return splits_at(places, _bounds(self._shares))

    def cleaned(self) -> dict[str, Any]:
        if self._survey is None:
            return {}
        return {"options": self._survey.cleaning.options, "splits": self._survey.counts(self._splits_of)}

    def fingerprint(self) -> str:
        parts = {split: texts.fingerprint for split, texts in self._texts.items()}
        if self._survey is not None:
            parts = {split: self._survey.fingerprint(split) for split in parts}
        return self._fingerprint_of(parts)

    def _fingerprint_of(self, parts: Mapping[str, str]) -> str:
        return hashlib.sha256(json.dumps([parts, self._shares], sort_keys=True).encode()).hexdigest()

    def checksum(self, cache: Path) -> str | None:
        return self._locate(None, cache).version if self.files is not None else None

    def provenance(self) -> dict[str, Any]:
        version = "revision" if self._source.on_hub else "sha256"
        return {
            "dataset": self.dataset,
            "subset": self.subset,
            version: self._source.version,
            "splits": dict(self._own) | {f"share for {split}": share for split, share in self._shares.items() if share},
            "limit": self.limit,
        }

    def commit(self, corpora: Path | None) -> str | None:
        """Return the commit on the hub that ``revision`` stands for now; ``None`` if local files are read.

        Raises:
            UserError: there is no such data set or revision, or the hub cannot be reached.
        """
        if self.files is not None or self._copy(corpora) is not None or self._is_commit():
            return self.revision
        return self._commit(self.revision)

    def _is_commit(self) -> bool:
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def _commit(self, revision: str | None) -> str:
        assert self.dataset is not None
        option = f"data.dataset={self.dataset}"
        with self._explained(option):
            from huggingface_hub import HfApi, try_to_load_from_cache
            from huggingface_hub.errors import HfHubHTTPError

            try:
                return str(HfApi().dataset_info(self.dataset, revision=revision).sha)
            except HfHubHTTPError:
                raise
            except Exception:  # without a network, the newest revision in the library's cache is used
                card = try_to_load_from_cache(
                    self.dataset, "README.md", revision=revision or "main", repo_type="dataset"
                )
                if not isinstance(card, str):
                    raise
                return Path(card).parent.name

    def _copy(self, corpora: Path | None) -> Path | None:
        """Return the folder with a copy of the data set in the user's folder of corpora, if there is one."""
        if corpora is None or self.files is not None:
            return None
        if not corpora.is_dir():
            raise UserError(f"paths.corpora={corpora}: there is no such folder (see also LMLAB_CORPORA)")
        assert self.dataset is not None
        return folder if (folder := corpora / self.dataset).is_dir() else None

    def _locate(self, corpora: Path | None, cache: Path) -> _Source:
        if (copy := self._copy(corpora)) is not None:
            return _Source({"path": str(copy)}, f"data.dataset={copy}", _checksum({"": _below(copy)}, cache))
        if self.files is None:
            version = str(self.revision if self._is_commit() else self._commit(self.revision))
            option = f"data.dataset={self.dataset}"
            return _Source({"path": self.dataset, "revision": version}, option, version)
        if isinstance(self.files, str) and (folder := expanded(self.files)).is_dir():
            return _Source({"path": str(folder)}, f"data.files={folder}", _checksum({"": _below(folder)}, cache))
        if self.subset is not None:
            raise UserError(f"data.subset={self.subset}: files have no subsets, only a folder with a data set has")
        if isinstance(self.files, Mapping):
            files = {split: _matching(paths, f"data.files.{split}") for split, paths in self.files.items()}
        else:
            files = {"train": _matching(self.files, "data.files")}
        names = {split: [str(path.absolute()) for path in paths] for split, paths in files.items()}
        option = f"data.files={self.files if isinstance(self.files, str) else next(iter(names.values()))[0]}"
        arguments = {"path": self.dataset or _format_of(files), "data_files": names}
        return _Source(arguments, option, _checksum(files, cache))

    def _available(self, source: _Source, scratch: Path) -> dict[str, int | None]:
        """Return the sizes of the splits of the data set, where they are stated, in bytes; kept in the cache."""
        path = self._cache / "downloads" / "hugging_face" / f"{self._key(source)}.json"
        if path.is_file():
            sizes: dict[str, int | None] = read_json(path)
            return sizes
        if not self.download and source.on_hub:
            raise UserError(f"{source.option}: not in {path.parent}; lmlab train downloads it")
        with self._explained(source.option):
            builder = self._builder(source, scratch)
            if builder.info.splits:
                sizes = {str(name): split.num_bytes for name, split in builder.info.splits.items()}
            else:
                sizes = dict.fromkeys(map(str, builder.config.data_files or ()))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, sizes)
        return sizes

    def _choose_splits(self, available: Mapping[str, int | None], source: _Source) -> None:
        """Complete the splits and shares by those that the data set has. Raises ``UserError`` for missing ones."""
        for split in SPLITS[1:]:
            if split not in self._own and split not in self._shares and split in available:
                self._own[split] = split
        if "validation" not in self._own:
            self._shares.setdefault("validation", _SHARE)
        for split, own in self._own.items():
            for part in own.split("+"):
                if (name := part.partition("[")[0].strip()) not in available:
                    raise UserError(
                        f"data.{split}={own}: {source.option} has no split {name}{nearest(name, available)}"
                    )
        self._check_overlap()
        has_test = "test" in self._own or bool(self._shares.get("test"))
        self.splits = SPLITS if has_test else SPLITS[:2]

    def _check_overlap(self) -> None:
        """Refuse splits that share documents, as far as their names show it. Raises ``UserError``."""
        ranges = {split: [_range(part) for part in own.split("+")] for split, own in self._own.items()}
        for first, second in combinations(ranges, 2):
            for one, other in product(ranges[first], ranges[second]):
                same_unit = one.unit is None or other.unit is None or one.unit == other.unit
                if one.name == other.name and same_unit and max(one.first, other.first) < min(one.end, other.end):
                    raise UserError(
                        f"data.{second}={self._own[second]}: shares documents with data.{first}={self._own[first]}; "
                        f"expected other ones, as in 'data.train={one.name}[:95%]' 'data.{second}={one.name}[95%:]'"
                    )

    def _store(
        self, source: _Source, split: str, scratch: Path, total: int | None, progress: bool, folder: Path
    ) -> None:
        description = f"{'Downloading' if source.on_hub else 'Reading'} {self.name}: {split}"
        with self._explained(source.option), ProgressBar(description, total, progress) as bar:
            rows = self._rows(source, self._own[split], scratch)
            column = self._column(rows, source)
            limit = self.limit if split == "train" else None
            store(rows.select_columns([column]).with_format("arrow"), folder, bar, limit)

    def _rows(self, source: _Source, own: str, scratch: Path) -> Any:
        """Return a split of the data set, or a part of it, as an ``IterableDataset``."""
        builder = self._builder(source, scratch)
        if "[" not in own:
            return builder.as_streaming_dataset(own)
        builder.download_and_prepare()  # parts can only be taken of a split whose size is known
        try:
            return builder.as_dataset(split=own).to_iterable_dataset()
        except (AssertionError, ValueError) as error:
            raise UserError(f"{source.option}: cannot take {own} ({first_line(error)})") from error

    def _builder(self, source: _Source, scratch: Path) -> Any:
        import datasets

        if source.on_hub:
            self._commit(source.version)  # fails at once, while the library tries for half a minute
        cache = None if source.on_hub else str(scratch)
        builder = datasets.load_dataset_builder(**source.arguments, name=self.subset, cache_dir=cache)
        if source.on_hub and builder.hash != source.version:  # without a network, the library takes what it has
            raise UserError(
                f"{source.option}: the hub cannot be reached, and the library's cache holds revision {builder.hash}; "
                f"expected {source.version}"
            )
        return builder

    def _column(self, rows: Any, source: _Source) -> str:
        """Return the name of the column with the text. Raises ``UserError`` if there is none."""
        if rows.features is not None:
            kinds = {name: str(getattr(feature, "dtype", "nested")) for name, feature in rows.features.items()}
        else:
            first: Mapping[str, Any] = next(iter(rows), {})
            kinds = {
                name: "string" if isinstance(value, str) else type(value).__name__ for name, value in first.items()
            }
        texts = [name for name, kind in kinds.items() if kind.endswith("string")]
        if self.column is not None:
            if self.column not in kinds:
                raise UserError(
                    f"data.column={self.column}: {source.option} has no such column{nearest(self.column, kinds)}"
                )
            if self.column not in texts:
                raise UserError(
                    f"data.column={self.column}: holds no texts but {kinds[self.column]}{nearest(self.column, texts)}"
                )
            return self.column
        if "text" in texts or len(texts) == 1:
            return "text" if "text" in texts else texts[0]
        raise UserError(
            f"data.column has no value: expected the column of {source.option} with the text{nearest('', texts)}"
        )

    def _check_texts(self) -> None:
        """Refuse splits without documents. Raises ``UserError``."""
        for split in self.splits:
            if next(self.documents(split), None) is None:
                rows = self._texts["train"].rows if self._survey is None else self._survey.number("train")
                if split in self._texts and not (split == "train" and any(self._shares.values())):
                    raise UserError(f"data.{split}={self._own[split]}: has no documents with text")
                number = f"{rows:,} document{'s' * (rows != 1)}"
                raise UserError(
                    f"data.{split}: the shares leave no document for this split, data.train={self._own['train']} has "
                    f"{number}; expected more documents, other shares, or the name of a split"
                )

    def _key(self, source: _Source, *more: Any) -> str:
        is_folder = not source.on_hub and "data_files" not in source.arguments
        path = None if is_folder else source.arguments["path"]  # a name on the hub or a format
        names = sorted(source.arguments.get("data_files", ()))
        if is_folder:  # names of files tell splits apart
            folder = Path(source.arguments["path"])
            names = [str(file.relative_to(folder)) for file in _below(folder)]
        inputs = [source.version, path, self.subset, names, *more]
        return f"{self.name}-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]}"

    def _folder(self, source: _Source, split: str, own: str) -> Path:
        limit = self.limit if split == "train" else None
        return self._cache / "downloads" / "hugging_face" / self._key(source, own, self.column, limit)

    @contextmanager
    def _explained(self, option: str) -> Iterator[None]:
        """Convert errors of the library to one line. Its errors have many types, most of them of other libraries."""
        try:
            import datasets
        except ImportError:
            raise UserError("data=hf: needs the package datasets (pip install 'lmlab[corpora]')") from None
        datasets.disable_progress_bars()
        with _captured() as log:
            try:
                yield
            except (UserError, Interrupted):
                raise
            except Exception as error:
                raise UserError(self._explanation(error, option, log.damaged)) from error

    def _explanation(self, error: Exception, option: str, damaged: str | None) -> str:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        reason = first_line(error)
        if "BuilderConfig" in reason or "Config name is missing" in reason:
            names = re.findall(r"'([^']+)'", "".join(re.findall(r"vailable[^\[]*\[([^\]]*)\]", str(error))))
            value = f"={self.subset}: {option} has no such subset" if self.subset else f": {option} has several subsets"
            return f"data.subset{value}{nearest(self.subset or '', names, listed=30)}"
        if "RevisionNotFoundError" in kinds or reason.startswith("Revision "):
            return f"data.revision={self.revision}: {option} has no such revision"
        if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "HFValidationError"}:
            return f"{option}: the hub has no such data set, or it needs a login ({reason})"
        if kinds & {"OfflineModeIsEnabled", "ConnectionError", "ConnectError", "TransportError", "TimeoutException"}:
            by_hand = f"set LMLAB_CORPORA to a folder that holds a copy of it as {self.dataset}"
            return f"{option}: the hub cannot be reached ({reason}); repeat the command to continue later, or {by_hand}"
        if (failure := system_error(error)) is not None and not isinstance(error, FileNotFoundError):
            return f"{option}: cannot be stored in {self._cache} ({failure.strerror})"
        if isinstance(error, StopIteration):  # raised for an empty file
            return f"{option}: has no documents"
        if damaged is not None and "JSON parse error" in damaged and not self.dataset:
            damaged += "; data=text data.paths=... says in which line, and data.on_error=skip leaves it out there"
        return damaged or f"{option}: cannot be read ({reason})"


class _Range(NamedTuple):
    """A part of a split, from ``first`` to ``end``, as documents or percent; all of it has no unit."""

    name: str
    unit: str | None = None
    first: float = -math.inf
    end: float = math.inf


def _range(part: str) -> _Range:
    """Return the part of a split that a text like ``train[10%:20%]`` names.

    A number from the end of a split of unknown length gives an empty range, which is compared with nothing.
    """
    name, bracket, _ = part.strip().partition("[")
    numbers = re.fullmatch(r"(-?\d*)(%?):(-?\d*)(%?)\]", part.strip()[len(name) + 1 :])
    if not bracket or numbers is None:
        return _Range(name.strip())
    unit = "%" if "%" in part else "documents"
    bounds = [float(text) if text else default for text, default in ((numbers[1], 0.0), (numbers[3], math.inf))]
    if unit == "%":
        bounds = [bound + 100 * (bound < 0) for bound in bounds]
    elif min(bounds) < 0:
        bounds = [0, 0]
    return _Range(name.strip(), unit, *bounds)


class _Log(logging.Handler):
    """Handler of the libraries' messages that prints nothing.

    Attributes:
        damaged: a line about the first file that could not be read.
    """

    damaged: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        match = re.search(r"file '(.+?)' with error (?:<.*?>: )?(.+)", record.getMessage())
        if match and self.damaged is None:
            self.damaged = f"{match[1]} cannot be read ({match[2]})"


@contextmanager
def _captured() -> Iterator[_Log]:
    """Take the messages of the libraries, which they would print."""
    handler = _Log()
    before = {}
    for name in ("datasets", "huggingface_hub"):
        logger = logging.getLogger(name)
        before[logger] = logger.handlers, logger.propagate
        logger.handlers, logger.propagate = [handler], False
    try:
        yield handler
    finally:
        for logger, (handlers, propagate) in before.items():
            logger.handlers, logger.propagate = handlers, propagate


def split_of(text: str, shares: Mapping[str, float]) -> str:
    """Return the split of a document by a hash of its text, so that adding documents moves none.

    Args:
        shares: the shares of documents in the validation and test splits.
    """
    return split_at(place_in(text), _bounds(shares))


def _bounds(shares: Mapping[str, float]) -> Bounds:
    validation = shares.get("validation", 0.0)
    return validation, validation + shares.get("test", 0.0)


def _stored(folder: Path) -> StoredTexts | None:
    return StoredTexts(folder) if folder.is_dir() else None


def _matching(paths: Any, option: str) -> list[Path]:
    """Return the files that a path, a pattern, or a list of them stands for. Raises ``UserError`` if there are none."""
    files: list[Path] = []
    for value in names_at(paths, option):
        if "://" in value:
            raise UserError(f"{option}={value}: expected a file on this machine; download it first")
        matching = [path for path in matches(expanded(value).absolute()) if path.is_file()]
        if not matching:
            raise UserError(f"{option}: there is no file {value}")
        files += matching
    return files


def _format_of(files: Mapping[str, list[Path]]) -> str:
    """Return the format that the names of all files end in. Raises ``UserError`` if there is not exactly one."""
    formats = {}
    for path in (path for paths in files.values() for path in paths):
        stem = path.with_suffix("") if path.suffix in _COMPRESSED else path
        ending = stem.suffix.removeprefix(".")
        formats[path] = next((name for name, endings in _FORMATS.items() if ending in endings), None)
    kinds = set(formats.values())
    if None in kinds or len(kinds) != 1:
        path = next((path for path, kind in formats.items() if kind is None), next(iter(formats)))
        why = "its format is unclear" if None in kinds else "the files have several formats"
        raise UserError(f"data.files: {path}: {why}; expected data.dataset={', '.join(_FORMATS)}")
    return str(kinds.pop())


def _below(folder: Path) -> list[Path]:
    """Return the visible files below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _checksum(files: Mapping[str, list[Path]], cache: Path) -> str:
    """Return the SHA-256 of the contents of files by split; those of unchanged files are kept in ``cache``."""
    inspector = Inspector(cache)
    digest = hashlib.sha256()
    for split, paths in sorted(files.items()):
        for path in paths:
            try:
                digest.update(f"{split} {inspector.checksum(path)}\n".encode())
            except OSError as error:
                raise UserError(f"data.files: {path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()
