"""``lmlab data list``: the data sets that ``data=`` can name, and what is prepared of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.commands import tables
from lmlab.config import options
from lmlab.config.experiment import Folders
from lmlab.config.targets import resolve_target
from lmlab.errors import UserError
from lmlab.numerals import counted
from lmlab.runs.files import read_json

_KINDS = ("text", "examples", "several at once", "generated")
"""Kinds of data sets, in the order of the table."""


def show_all(paths: Folders) -> None:
    """Print a line for each option of ``data``, and one for each prepared data set in the cache."""
    rows = data_sets(paths)
    tables.print_table("Data sets", rows, optional=["licence"])
    if paths.corpora is None and any(row["files"] == _MISSING for row in rows):
        tables.say("set LMLAB_CORPORA to a folder with them; lmlab options data=... shows their names", "Not here:")
    prepared = [row for meta in sorted(paths.cache.glob("[!.]*/meta.json")) if (row := _prepared(meta))]
    if prepared:
        tables.print_table(f"Prepared, in {tables.place(paths.cache)}", prepared, optional=["fingerprint"])
    else:
        tables.say(f"Nothing is prepared in {tables.place(paths.cache)}.")
    tables.say("lmlab data inspect data=...   lmlab data prepare data=... tokenizer=...   lmlab options data", "Next:")


def data_sets(paths: Folders) -> list[dict[str, str]]:
    """Return the name, kind, place of files and licence of each option of ``data``, sorted by kind."""
    contents = {name: options.content_of("data", name) for name in options.options_of("data")}
    rows = [row for name, content in contents.items() if (row := _facts(content, f"data={name}", paths))]
    return sorted(rows, key=lambda row: _KINDS.index(row["kind"]))


def _facts(content: Mapping[str, Any], option: str, paths: Folders) -> dict[str, str] | None:
    """Return facts about a data set that its options show; ``None`` if its class cannot be imported."""
    from lmlab.data.corpora import Corpus
    from lmlab.data.examples import Examples
    from lmlab.data.synthetic.generator import Generator

    try:
        target: Any = resolve_target(content["_target_"], option)
    except (UserError, KeyError, TypeError):
        return None
    bases = {Corpus: "text", Examples: "examples", Generator: "generated"}
    kind = next((name for base, name in bases.items() if issubclass(target, base)), "several at once")
    licence = content.get("licence") or getattr(target, "licence", "")
    return {
        "data": option.removeprefix("data="),
        "kind": kind,
        "files": _files(kind, target, content, paths),
        "licence": "" if kind == "generated" else str(licence),
    }


_MISSING = "not here"


def _files(kind: str, target: Any, content: Mapping[str, Any], paths: Folders) -> str:
    """Return where the files of a data set are."""
    if kind == "several at once":
        return "as its parts"
    if declared := getattr(target, "files", ()):
        return "here" if all(_is_here(file.path, paths) for file in declared) else "to be downloaded"
    if dataset := content.get("dataset"):
        copy = paths.corpora is not None and (paths.corpora / dataset).is_dir()
        downloads = (paths.cache / "downloads" / "hugging_face").glob(f"{content['name']}-*/")
        return "here" if copy or any(downloads) else "to be downloaded"
    if patterns := content.get("in_corpora"):
        globs = [pattern.replace("{language}", "*") for pattern in patterns.values()]
        return "here" if paths.corpora and any(any(paths.corpora.glob(name)) for name in globs) else _MISSING
    if "dataset" in content:
        return "of the hub, or your own"
    return "your own" if "paths" in content else "needs no files"


def _is_here(path: str, paths: Folders) -> bool:
    folders = (paths.corpora, paths.cache / "downloads")
    return any((folder / path).is_file() for folder in folders if folder is not None)


def _prepared(meta: Path) -> dict[str, str] | None:
    """Return the line for a folder of the cache, or ``None`` if it holds no prepared data."""
    try:
        record = read_json(meta)
        splits = record["splits"]
        sizes = sum(path.stat().st_size for path in meta.parent.iterdir() if path.is_file())
        tokenizer = read_json(meta.parent / "tokenizer.json")["class"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {
        "data": str(record["name"]),
        "tokenizer": f"{tokenizer.lower()}, {counted(record['vocabulary'], 'type')}",
        **{split: _size_of_split(splits.get(split)) for split in ("train", "validation", "test")},
        "disk": f"{sizes / 1e6:,.1f} MB",
        "fingerprint": record["fingerprint"][:12],
    }


def _size_of_split(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    if "examples" in record:
        return counted(record["examples"], "example")
    return f"{record['tokens']:,} tokens"
