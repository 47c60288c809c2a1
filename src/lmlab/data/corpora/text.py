"""Any local text files."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from math import ceil
from pathlib import Path
from typing import Any

from lmlab.data.corpora.corpus import SPLITS, Corpus
from lmlab.data.corpora.files import Inspector, TextFile
from lmlab.data.corpora.folders import as_option, is_about, listed, named_splits, names, text_files, visible
from lmlab.errors import UserError, nearest
from lmlab.surroundings import expanded

_FILES_TO_SPLIT_BY = 20
_SHARES = {"validation": 0.05, "test": 0.05}
"""Options for the held-out shares of text without splits, with their defaults."""
_NO_SPLIT = ""  # for files that do not belong to a split


@dataclass(frozen=True)
class _Part:
    """The characters of a file from ``first`` to ``end``: a document of a split."""

    file: TextFile
    split: str
    first: int
    end: int


class Text(Corpus):
    """Text from files and folders that the user names; every file is a document.

    Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark, which is removed. Folders are searched recursively, also
    through links. In a folder, hidden, empty and binary files (a NUL byte in the first 8 KiB), files that are not
    UTF-8, and lmlab's own outputs are skipped and counted. Files of equal content count once.

    Paths given by split are used as these splits. So is a folder that holds only files, or folders, named like splits.
    Other text is split here. With 20 files or more, whole files are held out: those whose content hashes
    lowest. With fewer, every file is cut in three at line ends: the beginning trains, the end is held out. If it has so
    few lines that a split would be empty, it is cut within lines.

    Args:
        paths: a file or folder, or a list of them; ``~`` is expanded. Or such a value for each of ``train``,
            ``validation`` and, if there is one, ``test``.
        validation: share of the files, or of each file, for the validation split, if ``paths`` are not given by split.
        test: the same for the test split; 0 for none.

    Raises:
        UserError: the shares are not positive (validation) or not below 1 together, or a split is missing or unknown.
    """

    name = "text"
    licence = "the user's own"

    def __init__(self, paths: dict[str, Any] | list[str] | str, validation: float = 0.05, test: float = 0.05) -> None:
        if not 0 < validation < 1:
            raise UserError(f"data.validation={validation}: expected a share above 0 and below 1")
        if not 0 <= test < 1 - validation:
            raise UserError(f"data.test={test}: expected a share of at least 0 that leaves some text for training")
        self.validation = validation
        self.test = test
        self.splits = SPLITS if test else SPLITS[:2]
        self._own: dict[str, list[Path]] | None = None
        self._paths: list[Path] = []
        if isinstance(paths, Mapping):
            self._own = _by_split(paths)
            self.splits = tuple(self._own)
        else:
            self._paths = _expanded(paths, "data.paths")

    def check(self) -> None:
        splits = self._own or self._splits_by_name([]) or {}
        for option, default in _SHARES.items() if splits else ():
            if (share := getattr(self, option)) != default:
                raise UserError(
                    f"data.{option}={share:g}: changes nothing, data.paths has splits of its own "
                    f"({', '.join(splits)}); leave it out, or give the text in one piece"
                )

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        self._cache = cache
        files = self._inspect(cache)
        unsplit = files.get(_NO_SPLIT)
        if unsplit is None:
            self.splits = tuple(files)
            self._parts = [_Part(file, split, 0, file.characters) for split in files for file in files[split].values()]
        elif len(unsplit) >= _FILES_TO_SPLIT_BY:
            self._parts = self._hold_out_files(unsplit)
        else:
            self._parts = [part for file in unsplit.values() for part in self._cut(file)]
            if self._missing():
                self._parts = [part for file in unsplit.values() for part in self._cut(file, at_lines=False)]
        for split in self._missing():
            self._refuse_too_little(split, sum(part.end - part.first for part in self._parts))

    def chunks(self, split: str) -> Iterator[Iterator[str]]:
        return (part.file.read(part.first, part.end) for part in self._parts if part.split == split)

    def documents(self, split: str) -> Iterator[str]:
        return ("".join(chunks) for chunks in self.chunks(split))

    def size(self, split: str) -> int:
        return sum(part.end - part.first for part in self._parts if part.split == split)

    def fingerprint(self) -> str:
        parts = [f"{part.split} {part.file.sha256} {part.first} {part.end}" for part in self._parts]
        key = hashlib.sha256("\n".join([*self.splits, *parts]).encode()).hexdigest()
        return Inspector(self._cache).remember(key, super().fingerprint)

    def checksum(self, cache: Path) -> str:
        digest = hashlib.sha256()
        for split, files in self._inspect(cache).items():
            for sha256 in files:
                digest.update(f"{split} {sha256}\n".encode())
        return digest.hexdigest()

    def _hold_out_files(self, files: dict[str, TextFile]) -> list[_Part]:
        by_hash = sorted(files)
        validation = max(1, round(self.validation * len(by_hash)))
        test = max(1, round(self.test * len(by_hash))) if self.test else 0
        held_out = dict.fromkeys(by_hash[:validation], "validation")
        held_out |= dict.fromkeys(by_hash[validation : validation + test], "test")
        return [_Part(file, held_out.get(sha256, "train"), 0, file.characters) for sha256, file in files.items()]

    def _missing(self) -> list[str]:
        """Return the splits that have no text."""
        return [split for split in self.splits if not any(part.split == split for part in self._parts)]

    def _cut(self, file: TextFile, at_lines: bool = True) -> list[_Part]:
        first = round(file.characters * (1 - self.validation - self.test))
        second = round(file.characters * (1 - self.test))
        if at_lines:
            first, second = file.line_end(first), file.line_end(second)
        bounds = {"train": (0, first), "validation": (first, second), "test": (second, file.characters)}
        return [_Part(file, split, *bounds[split]) for split in self.splits if bounds[split][0] < bounds[split][1]]

    def _refuse_too_little(self, split: str, characters: int) -> None:
        share = {"train": 1 - self.validation - self.test, "validation": self.validation, "test": self.test}[split]
        least = max(len(self.splits), ceil(1 / share))
        instead = {"train": "smaller shares for the others", "validation": "a larger data.validation"}
        there = "is 1 character" if characters == 1 else f"are {characters:,} characters"
        raise UserError(
            f"data.paths: too little text to have a {split} split: there {there}, a share of {share:g} takes about "
            f"{least:,}; give more text, or choose {instead.get(split, 'data.test=0')}"
        )

    def _inspect(self, cache: Path) -> dict[str, dict[str, TextFile]]:
        """Return the files by split and checksum, each content once; all under ``_NO_SPLIT`` if they have no splits."""
        notes: list[str] = []
        inspector, passed_over = Inspector(cache), Counter[str]()
        files: dict[str, dict[str, TextFile]] = {}
        for split, paths in (self._own or self._splits_by_name(notes) or {_NO_SPLIT: self._paths}).items():
            option = f"data.paths.{split}" if split in SPLITS else "data.paths"
            files[split] = {}
            for path in paths:
                for file in text_files(path, option, inspector, passed_over, notes):
                    if files[split].setdefault(file.sha256, file) is not file:
                        passed_over["equal to another"] += 1
        inspector.save()
        if passed_over:
            read = sum(map(len, files.values()))
            notes.append(f"{read:,} file{'s' * (read != 1)} read; skipped: {listed(passed_over)}")
        for first, second in combinations(files, 2):
            if shared := files[first].keys() & files[second].keys():
                example = files[second][min(shared)].path
                notes.append(f"{second} has {len(shared)} file{'s' * (len(shared) > 1)} of {first} ({example})")
        self.notes = tuple(f"data.paths: {note}" for note in notes)
        return files

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
            if named := named_splits(self._paths):
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
    """Text from files and folders as one split, ``text``, to be scored.

    Args:
        paths: a file or folder, or a list of them; ``~`` is expanded.
    """

    def __init__(self, paths: list[str] | str) -> None:
        super().__init__(paths)
        self._own = {"text": self._paths}
        self.splits = ("text",)


def _by_split(paths: Mapping[str, Any]) -> dict[str, list[Path]]:
    for split in paths:
        if split not in SPLITS:
            raise UserError(f"data.paths.{split}: no such split{nearest(split, SPLITS)}")
    for split in SPLITS[:2]:
        if split not in paths:
            raise UserError(f"data.paths.{split} has no value: expected the files of the {split} split")
    return {split: _expanded(paths[split], f"data.paths.{split}") for split in SPLITS if paths.get(split) is not None}


def _expanded(paths: Any, option: str) -> list[Path]:
    values = [paths] if isinstance(paths, str) else paths
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{option}={paths}: expected a file or folder, or a list of them")
    if not values:
        raise UserError(f"{option}=[]: expected at least one file or folder")
    if "" in values:  # which would be the working folder
        raise UserError(f"{option}: a name is empty; expected a file or folder, . for the working folder")
    return [expanded(value) for value in values]
