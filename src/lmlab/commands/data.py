"""``lmlab data list|prepare|inspect``: data sets, what is prepared of them, and what their documents are."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hydra.core.hydra_config import HydraConfig

from lmlab.commands import tables
from lmlab.commands.app import typed_words
from lmlab.commands.data_list import show_all
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.config.overrides import written
from lmlab.errors import UserError, nearest
from lmlab.numerals import counted
from lmlab.runs.files import dumps, read_json

if TYPE_CHECKING:
    from lmlab.analysis.report.document import Document
    from lmlab.data.inspection import Documents
    from lmlab.data.tasks import Task

_SHOWN: set[str] = set()
"""Data and tokenizers of earlier jobs of a sweep, whose runs often differ in their models and seeds alone."""
_PREPARED: list[tuple[dict[str, Any], str]] = []
"""Records of the prepared data of the jobs of this command, each with the chosen model."""
_COMMON = 12
"""Number of the most frequent tokens that are printed."""
_LESSER = ("unspelled", "skipped", "unknown", "prompt tokens", "answer bytes", "references bytes")
"""Columns that a narrow terminal does not show, from the last; the page has all."""
_POINTS = 200
"""Most points of the line of token frequencies."""


def main(
    *,
    action: Literal["list", "prepare", "inspect"] | None,
    split: str | None,
    samples: int,
    formats: str | list[str],
    **config: Any,
) -> None:
    """Print the data sets, or prepare or inspect one. ``config`` is a configuration of ``lmlab train``."""
    if action is None:
        raise UserError("expected what to do, as in lmlab data list, lmlab data prepare or lmlab data inspect")
    if action == "list":
        show_all(Experiment.of(config).paths)
        return
    for section in ("data", "tokenizer"):
        validate(config[section], section)
    if (of_data := dumps([config["data"], config["tokenizer"]])) in _SHOWN:
        return
    _SHOWN.add(of_data)
    from lmlab.training.preflight import open_task  # imports torch

    if config["data"].get("stream"):  # all of it is prepared, for runs that stream it and others
        config["data"] |= {"stream": False}
    experiment = Experiment.of(config)
    if action == "prepare":
        show_prepared(open_task(experiment, experiment.progress), experiment)
        return
    if samples < 0:
        raise UserError(f"samples={samples}: expected at least 0")
    endings = [formats] if isinstance(formats, str) else formats
    if endings:
        from lmlab.analysis.report.folder import check_formats

        check_formats(endings)
    inspect(experiment, split, samples, endings)


def show_prepared(task: "Task", experiment: Experiment) -> None:
    """Print the notes and the sizes of an opened task."""
    for note in task.notes:
        tables.say(note)
    record = task.describe()
    tables.print_table(f"{record['name']}: {record['licence']}", _by_split(record["splits"]), _LESSER)
    if "cleaning" in record:
        tables.print_table("Cleaning", _by_split(record["cleaning"]["splits"]))
    folder = next((m.parent for m in experiment.paths.cache.glob("[!.]*/meta.json") if _is_of(m, task)), None)
    if folder is not None:
        tables.say(tables.place(folder), "Folder:")
    tables.say(record["fingerprint"][:12], "Fingerprint:")
    _PREPARED.append((record, HydraConfig.get().runtime.choices["model"]))


def finish() -> None:
    """Print the next commands after the last job, with the words of this one."""
    if not _PREPARED:
        return
    record, model = _PREPARED[0]
    words = [word for word in typed_words() if word != "prepare" and not word.startswith(("action=", "paths."))]
    if "parts" not in record:  # a mixture is inspected part by part
        tables.say(tables.command("data", "inspect", *words), "Next:")
    has_model = any(word.startswith(("model=", "experiment=")) for word in words)
    tables.say(tables.command("train", *words, *([] if has_model else [f"model={model}"])), "Next:")


def _is_of(meta: Path, task: "Task") -> bool:
    try:
        return bool(read_json(meta)["fingerprint"] == task.fingerprint)
    except (OSError, ValueError, KeyError):
        return False


def _by_split(splits: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the counts of splits as rows of a table; those of a mixture have different ones."""
    numbers = {
        split: {name.replace("_", " "): f"{value:,}" for name, value in counts.items() if isinstance(value, int)}
        for split, counts in splits.items()
    }
    headings = dict.fromkeys(name for row in numbers.values() for name in row)
    return [{"split": split, **dict.fromkeys(headings, ""), **row} for split, row in numbers.items()]


def inspect(experiment: Experiment, split: str | None, samples: int, formats: list[str]) -> None:
    """Print sizes, documents, duplicates, lengths and frequencies, and write a page with figures.

    Raises:
        UserError: there is no such split, or the data are a mixture.
    """
    from lmlab.data.inspection import inspect_documents
    from lmlab.data.mixture import Mixture
    from lmlab.progress import ProgressBar
    from lmlab.training.preflight import build_data, open_task, opening_of

    data = build_data(experiment)
    if isinstance(data, Mixture):
        raise UserError(f"data=mixture: inspect one of its parts, as data={next(iter(data.parts))}")
    task = open_task(experiment, experiment.progress)
    splits = list(task.describe()["splits"])
    if split is None:
        split = "train" if "train" in splits else splits[0]
    if split not in splits:
        raise UserError(f"split={split}: {data.name} has no such split{nearest(split, splits)}")
    for note in task.notes:
        tables.say(note)
    documents: dict[str, Documents] = {}
    if task.describe()["licence"] == "generated":
        batches = task.batches(split, range(min(samples, task.sequences(split))))
        shown = [task.tokenizer.decode(row) for batch in batches for row in batch.tokens.numpy()]
    else:
        opening = opening_of(experiment)
        with ProgressBar(f"Reading {data.name}", None, experiment.progress) as bar:
            for name in splits:
                texts = partial(data.texts, name, opening)
                documents[name] = inspect_documents(texts, samples if name == split else 0, bar.advance)
        shown = [task.tokenizer.decode(task.tokenizer.encode_prompt(text)) for text in documents[split].samples]
    document = _document(task, split, documents, shown)
    show(document)
    if formats:
        from lmlab.analysis.report.folder import FORMATS, write_document

        folder = experiment.paths.outputs / "data" / f"{data.name}-{task.fingerprint[:10]}-{split}"
        write_document(document, folder, formats)
        tables.say(tables.place(folder / FORMATS[formats[0]].split(" ")[0]), "\nPage:")


def show(document: "Document") -> None:
    """Print the tables and texts of a document; figures are for its page."""
    from lmlab.analysis.report.document import Code, Table, Text

    for section in document.sections:
        for part in section.parts:
            if isinstance(part, Table):
                headings = [column.heading for column in part.columns]
                cells = [[_cell(cell) for cell in row] for row in part.rows]
                tables.print_table(part.title, [dict(zip(headings, row, strict=True)) for row in cells], _LESSER)
            elif isinstance(part, Text):
                tables.say(part.text)
            elif isinstance(part, Code):
                tables.say("", f"\n{section.title}")
                tables.say(part.text)


def _cell(cell: Any) -> str:
    return "" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)


def _document(task: "Task", split: str, documents: "dict[str, Documents]", shown: list[str]) -> "Document":
    """Return the facts of a data set as a report.

    Args:
        documents: facts about the documents of each split; none of a generated task.
        shown: documents as the tokenizer sees them: encoded and decoded.
    """
    from lmlab.analysis.report.document import Code, Document, Section

    record = task.describe()
    sections = [Section("Splits", [_splits(record, documents)])]
    if "cleaning" in record:
        sections.append(Section("Cleaning", [_cleaning(record["cleaning"])]))
    if documents:
        sections.append(Section("Lengths", _lengths(documents[split], split)))
    sections += [Section(f"{split}, {place} of {len(shown)}", [Code(text)]) for place, text in enumerate(shown, 1)]
    sections.append(Section("Token frequencies", _frequencies(task, split)))
    return Document(f"{record['name']}: {split}", f"Licence: {record['licence']}.", None, sections)


def _splits(record: Mapping[str, Any], documents: "dict[str, Documents]") -> Any:
    from lmlab.analysis.report.document import Column, Table

    headings = list(dict.fromkeys(name for counts in record["splits"].values() for name in counts))
    rows = []
    for split, counts in record["splits"].items():
        row = [split, *(counts.get(name) for name in headings)]
        if documents:
            train = documents.get("train")
            shared = documents[split].in_common(train) if train is not None and split != "train" else None
            row += [documents[split].duplicates, shared]
        rows.append(row)
    extra = ["duplicates", "also in train"] if documents else []
    columns = [Column(name.replace("_", " ")) for name in ["split", *headings, *extra]]
    return Table("splits", f"{record['name']}: {record['licence']}", columns, rows)


def _cleaning(record: Mapping[str, Any]) -> Any:
    from lmlab.analysis.report.document import Column, Table

    names = [*next(iter(record["splits"].values()))]
    rows = [[split, *(counts[name] for name in names)] for split, counts in record["splits"].items()]
    columns = [Column(name.replace("_", " ")) for name in ["split", *names]]
    options = ", ".join(f"{name}={written(value)}" for name, value in record["options"].items())
    return Table("cleaning", f"Cleaning: {options}", columns, rows)


def _lengths(facts: "Documents", split: str) -> list[Any]:
    """Return quantiles and the histogram of the documents' lengths."""
    from lmlab.analysis.report.document import Axis, Chart, Column, Series, Table

    quantiles = [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
    values = np.quantile(facts.lengths, quantiles).round().astype(int).tolist() if len(facts.lengths) else []
    names = ["shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest"]
    table = Table("lengths", f"Characters of a document, {split}", [Column(name) for name in names], [values])
    if len(set(facts.lengths.tolist())) < 2:
        return [table]
    edges = np.unique(np.geomspace(max(1, facts.lengths.min()), facts.lengths.max() + 1, 40).astype(int))
    counts, _ = np.histogram(facts.lengths, edges)
    middles = np.sqrt(edges[:-1] * edges[1:]).round(1).tolist()
    series = Series("documents", "documents", {"length": middles}, counts.tolist(), kind="line")
    summary = f"Half of the documents have between {values[2]:,} and {values[4]:,} characters."
    axes = {"length": Axis("characters", log=True)}
    return [table, Chart("lengths", f"Lengths of documents, {split}", axes, Axis("documents"), [series], summary)]


def _frequencies(task: "Task", split: str) -> list[Any]:
    """Return the most frequent tokens, and frequency over rank."""
    from lmlab.analysis.report.document import Axis, Chart, Column, Series, Table, Text

    counts = task.token_counts(split)
    order = np.argsort(-counts, kind="stable")
    total, used = int(counts.sum()), int((counts > 0).sum())
    parts: list[Any] = [Text(f"{used:,} of {len(counts):,} types occur among {counted(total, 'token')} of {split}.")]
    rows: list[list[Any]] = [
        [repr(task.tokenizer.decode(np.array([token]))), int(counts[token]), f"{counts[token] / total:.2%}"]
        for token in order[:_COMMON]
        if counts[token]
    ]
    parts.append(
        Table("frequent", f"Most frequent tokens, {split}", [Column("token"), Column("number"), Column("share")], rows)
    )
    if used > 2:
        ranks = np.unique(np.geomspace(1, used, _POINTS).astype(int))
        values = counts[order][ranks - 1].tolist()
        series = Series(split, split, {"rank": ranks.tolist()}, values, kind="line")
        summary = f"The most frequent of {used:,} types is {values[0] / total:.1%} of all tokens."
        axes = {"rank": Axis("rank", log=True)}
        title = f"Frequency of each type by rank, {split}"
        parts.append(Chart("frequencies", title, axes, Axis("occurrences", log=True), [series], summary))
    return parts
