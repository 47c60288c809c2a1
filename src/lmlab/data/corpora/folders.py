"""The text files at a path, and the files of a folder that are skipped."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmlab.data.corpora.files import Inspector, NoText, TextFile
from lmlab.data.corpora.split_names import as_option, named_splits
from lmlab.errors import UserError, nearest

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
