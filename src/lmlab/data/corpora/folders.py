"""The text files at a path, and the files of a folder that are skipped."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lmlab.data.corpora.files import Inspector, NoText, TextFile
from lmlab.errors import UserError, nearest

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


def as_option(splits: Mapping[str, Iterable[Path]]) -> str:
    """Return the command-line argument that names these splits, with a placeholder if validation is missing."""
    values = {"train": "", "validation": "FILE"}
    for split, paths in splits.items():
        texts = [_quoted(str(path)) for path in paths]
        values[split] = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return "'data.paths={" + ", ".join(f"{split}: {value}" for split, value in values.items()) + "}'"


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./~-]+", path) else f'"{path}"'


SHOWN = 3
"""Largest number of file names in a line."""


def text_files(
    path: Path, option: str, inspector: Inspector, passed_over: Counter[str], notes: list[str]
) -> Iterator[TextFile]:
    """Yield the file at ``path``, or the text files of a folder sorted by path; count the files that are skipped."""
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{option}: there is no {path}{_nearest_name(path)}")
        file = inspector.inspect(path)
        if isinstance(file, NoText):
            raise UserError(f"{option}: {file.message}")
        yield file
        return
    files = 0
    for below in sorted(_walk(path, passed_over, notes)):
        file = inspector.inspect(below)
        if isinstance(file, NoText):
            passed_over[file.reason] += 1
        else:
            files += 1
            yield file
    if not files:
        raise UserError(f"{option}: {path} holds no text file ({listed(passed_over) or 'it is empty'})")


def _walk(folder: Path, passed_over: Counter[str], notes: list[str]) -> Iterator[Path]:
    """Yield the visible files below a folder and its linked folders, each once even if several links lead to it."""

    def refuse(error: OSError) -> None:
        raise UserError(f"data.paths: {error.filename} cannot be read ({error.strerror})") from error

    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        state = Path(place).stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        hidden = [name for name in (*folders, *names) if name.startswith(".")]
        if hidden:
            passed_over["hidden"] += len(hidden)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if outputs := [name for name in folders if is_outputs(Path(place, name))]:
            passed_over["lmlab's own outputs"] += len(outputs)
            folders[:] = [name for name in folders if name not in outputs]
        files = [Path(place, name) for name in names if not name.startswith(".")]
        for path in files:
            if path.is_file():
                yield path
            else:
                passed_over["neither file nor folder"] += 1
        if Path(place) != folder and (named := named_splits([*files, *(Path(place, name) for name in folders)])):
            notes.append(f"cut and mixed, though named like splits; {as_option(named)} keeps them apart")


def is_outputs(folder: Path) -> bool:
    """Return whether a folder is one of lmlab's outputs, which may be next to the text and change with every run."""
    return (folder / "cache" / "files.json").is_file() or any((folder / "runs").glob("*/run.json"))


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, without hidden ones and lmlab's own outputs."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not is_outputs(path))
    except OSError as error:
        raise UserError(f"data.paths: {folder} cannot be read ({error.strerror})") from error


def listed(passed_over: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(passed_over.items()))


def names(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(path.name for path in paths[:SHOWN]) + more


def _nearest_name(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    hint = nearest(path.name, (sibling.name for sibling in path.parent.iterdir()))
    return hint if "did you mean" in hint else ""
