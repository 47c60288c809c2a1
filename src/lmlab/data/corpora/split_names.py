"""Files and folders that are named like splits: ``ptb.train.txt``, ``wiki.valid.raw``, ``dev.txt``, ``val/``."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

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
