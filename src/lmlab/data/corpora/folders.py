"""The text files at a path, in a folder or for wildcards, and the files that are passed over."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from lmlab.config.overrides import written
from lmlab.data.corpora.files import Unreadable
from lmlab.errors import UserError, nearest
from lmlab.surroundings import expanded, is_pattern, matches

Content = TypeVar("Content")

_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "validate": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "heldout": "validation",
    "test": "test",
    "testing": "test",
}
"""Words for splits; ``set`` or a number may follow them."""
_ABOUT = {"readme", "license", "licence", "copying", "notice", "sha256sums", "md5sums"}
"""Stems of files next to a corpus that do not belong to it."""


def names_at(value: Any, option: str) -> list[str]:
    """Return the names of files and folders that an option gives, one or a list. Raises ``UserError``."""
    values: list[str] = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise UserError(f"{option}={value}: expected a file or folder, or a list of them")
    if not values:
        raise UserError(f"{option}=[]: expected at least one file or folder")
    if "" in values:  # which would be the working folder
        raise UserError(f"{option}: a name is empty; expected a file or folder, . for the working folder")
    return values


def paths_at(value: Any, option: str) -> list[Path]:
    """Return the paths of files and folders that an option gives, one or a list. Raises ``UserError``."""
    return list(map(expanded, names_at(value, option)))


def named_splits(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the paths that are named like splits, by split.

    Their names differ only in the name of the split and in numbers, and they include the training split and a held-out
    split; empty if there are no such paths. If all paths are splits, apart from files about the corpus, the rest of
    their names may differ.
    """
    of_corpus = [path for path in sorted(paths) if not is_about(path)]
    labels = {path: label for path in of_corpus if (label := _label(path)) is not None}
    only_splits = len(labels) == len(of_corpus)
    by_form: dict[str, dict[str, list[Path]]] = {}
    for path, (split, form) in labels.items():
        by_form.setdefault("" if only_splits else form, {}).setdefault(split, []).append(path)
    splits: dict[str, list[Path]] = {}
    for named in by_form.values():
        if "train" in named and len(named) > 1:
            for split in named:
                splits.setdefault(split, []).extend(named[split])
    return splits


def _label(path: Path) -> tuple[str, str] | None:
    """Return the split that a path is named like and the rest of its name, or ``None`` if it is not named like one."""
    parts = re.split(r"([\W_]+)", re.sub(r"\d+", "", path.name.lower()))
    of_split = [index for index, part in enumerate(parts) if part.removesuffix("set") in _WORDS]
    if len(of_split) != 1:
        return None
    split = _WORDS[parts[of_split[0]].removesuffix("set")]
    parts[of_split[0]] = "{}"
    return split, ("folder " if path.is_dir() else "") + "".join(parts)


def is_about(path: Path) -> bool:
    """Return whether a file describes a corpus, as ``README.md`` does."""
    return path.is_file() and path.name.lower().partition(".")[0] in _ABOUT


def as_option(splits: Mapping[str, Sequence[Path]]) -> str:
    """Return the command-line arguments that name these splits, with a placeholder if validation is missing."""
    values = {"train": "", "validation": "FILE"}
    for split, paths in splits.items():
        values[split] = written(str(paths[0]) if len(paths) == 1 else [str(path) for path in paths])
    return " ".join(shlex.quote(f"data.{split}={value}") for split, value in values.items())


SHOWN = 3
"""Largest number of file names in a line."""


class PassedOver:
    """The files that are not read, by the reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, reason: str, *names: str) -> None:
        if names:
            self._names.setdefault(reason, []).extend(names)

    def __str__(self) -> str:
        """Return the number of files for each reason, with the names of some: ``2 empty (a.txt, b.txt)``."""
        reasons = sorted(self._names.items())
        return ", ".join(f"{len(names):,} {reason} ({shortened(names)})" for reason, names in reasons)


class Finder(Generic[Content]):
    """Finds the files of text at a path, in a folder, or for wildcards.

    Args:
        inspect: returns the description of a file, or the reason why it is not read.
        strict: refuse damaged files in folders.

    Attributes:
        passed_over: the files that are not read.
        notes: messages about folders that hold files named like splits.
    """

    def __init__(self, inspect: Callable[[Path], Content | Unreadable], strict: bool) -> None:
        self._inspect = inspect
        self._strict = strict
        self.passed_over = PassedOver()
        self.notes: list[str] = []

    def files(self, path: Path, option: str) -> Iterator[Content]:
        """Yield the file at ``path``, or those in a folder or for wildcards sorted by path; note those passed over.

        Raises:
            UserError: there is no such file, it is not text, or there is none in the folder; or a file in it cannot be
                read or has a malformed record.
        """
        paths = matches(path)
        if not paths:
            raise UserError(f"{option}: {_missing(path)}")
        if paths == [path] and path.is_file():
            content = self._inspected(path, option)
            if isinstance(content, Unreadable):
                raise UserError(f"{option}: {content.message}")
            yield content
            return
        root = path if paths == [path] else _fixed_part(path)
        reasons: dict[str, str] = {}
        number = 0
        for below in self._below(paths, root):
            content = self._inspected(below, option)
            if not isinstance(content, Unreadable):
                number += 1
                yield content
                continue
            if content.damaged and self._strict:
                raise UserError(f"{option}: {content.message}")
            self.passed_over.add(content.reason, str(below.relative_to(root)))
            reasons.setdefault(content.reason, content.message)
        if not number:
            why = next(iter(reasons.values())) if len(reasons) == 1 else str(self.passed_over) or "it is empty"
            raise UserError(f"{option}: {path} holds no text file ({why})")

    def _inspected(self, path: Path, option: str) -> Content | Unreadable:
        try:
            return self._inspect(path)
        except OSError as error:
            raise UserError(f"{option}: {path} cannot be read ({error.strerror})") from error

    def _below(self, paths: Sequence[Path], root: Path) -> Iterator[Path]:
        """Yield the files among ``paths`` and in the folders among them."""
        folders = {path for path in paths if path.is_dir()}
        for path in paths:
            if not folders.isdisjoint(path.parents):
                continue  # it is in a folder that is read as a whole
            if path != root and any(map(is_outputs, _between(path, root))):
                self.passed_over.add("of lmlab's own outputs", str(path.relative_to(root)))
            elif path in folders:
                yield from sorted(self._walk(path, root))
            elif path.is_file():
                yield path
            else:
                self.passed_over.add("neither file nor folder", str(path.relative_to(root)))

    def _walk(self, folder: Path, root: Path) -> Iterator[Path]:
        """Yield the visible files below a folder and its linked folders, each once even if several links lead to it."""

        def refuse(error: OSError) -> None:
            raise UserError(f"data.paths: {error.filename} cannot be read ({error.strerror})") from error

        def pass_over(reason: str, paths: Iterable[Path]) -> None:
            self.passed_over.add(reason, *(str(path.relative_to(root)) for path in sorted(paths)))

        entered: set[tuple[int, int]] = set()
        for place, names_of_folders, names_of_files in os.walk(folder, followlinks=True, onerror=refuse):
            state = Path(place).stat()
            if (state.st_dev, state.st_ino) in entered:
                names_of_folders.clear()
                continue
            entered.add((state.st_dev, state.st_ino))
            names = [*names_of_folders, *names_of_files]
            pass_over("hidden", (Path(place, name) for name in names if name.startswith(".")))
            folders = [Path(place, name) for name in sorted(names_of_folders) if not name.startswith(".")]
            outputs = [path for path in folders if is_outputs(path)]
            pass_over("of lmlab's own outputs", outputs)
            names_of_folders[:] = [path.name for path in folders if path not in outputs]
            files = [Path(place, name) for name in names_of_files if not name.startswith(".")]
            yield from (path for path in files if path.is_file())
            pass_over("neither file nor folder", (path for path in files if not path.is_file()))
            inside = [*files, *(Path(place, name) for name in names_of_folders)]
            if Path(place) != folder and (named := named_splits(inside)):
                self.notes.append(f"cut and mixed, though named like splits; {as_option(named)} keeps them apart")


def _missing(path: Path) -> str:
    if is_pattern(path):
        quoted = f"in quotes, as 'data.paths={path}', it reaches lmlab as it is and not as your shell expands it"
        return f"no file matches {path} ({quoted})"
    return f"there is no {path}{_nearest_name(path)}"


def _fixed_part(pattern: Path) -> Path:
    """Return the folders of a path before its first wildcard."""
    return next((path for path in pattern.parents if not is_pattern(path)), Path())


def _between(path: Path, root: Path) -> list[Path]:
    """Return a path and the folders around it, up to ``root``."""
    return [one for one in (path, *path.parents) if one != root and one.is_relative_to(root)]


def is_outputs(folder: Path) -> bool:
    """Return whether a folder is one of lmlab's outputs, which may be next to the text and change with every run."""
    return (folder / "cache" / "files.json").is_file() or any((folder / "runs").glob("*/run.json"))


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, without hidden ones and lmlab's own outputs."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not is_outputs(path))
    except OSError as error:
        raise UserError(f"data.paths: {folder} cannot be read ({error.strerror})") from error


def names(paths: Sequence[Path]) -> str:
    """Return the names of some files."""
    return shortened([path.name for path in paths])


def shortened(names: Sequence[str]) -> str:
    """Return the first of some names, and the number of the others."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _nearest_name(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    hint = nearest(path.name, (sibling.name for sibling in path.parent.iterdir()))
    return hint if "did you mean" in hint else ""
