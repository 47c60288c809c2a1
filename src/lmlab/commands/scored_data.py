"""The data that ``lmlab evaluate`` scores a run on: a split of its own, any text, or another task or corpus."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab.commands import tables
from lmlab.commands.app import typed_words
from lmlab.config.build import build
from lmlab.config.check import check_arguments, validate
from lmlab.config.experiment import Experiment, Folders
from lmlab.config.nodes import Config, Paths, at
from lmlab.config.overrides import option_of, written
from lmlab.config.targets import named_parameters, resolve_target
from lmlab.errors import UserError, nearest
from lmlab.metrics import VALIDATION
from lmlab.models.decoding_options import Settings
from lmlab.runs.lookup import config_here
from lmlab.runs.run import Run
from lmlab.surroundings import expanded

if TYPE_CHECKING:
    from lmlab.data.dataset import Dataset
    from lmlab.data.shards import TokenizedCorpus
    from lmlab.data.tasks import ScoredText, Task
    from lmlab.data.tokenizers import Tokenizer
    from lmlab.training.load import Trained


@dataclass(frozen=True)
class ScoredData:
    """A task or a text to score a run on.

    Attributes:
        task: opened with the run's tokenizer.
        split: the split of it.
        settings: settings that tell it from other data in a record of the score, ``split`` among them.
        about: other fields of that record.
    """

    task: "Task | ScoredText"
    split: str
    settings: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)


def without_options_of_text(data: Mapping[str, Any]) -> Config:
    """Return the section ``data`` of a command without defaults of a text's options that the data set does not have."""
    if "_target_" not in data:
        return dict(data)
    own = named_parameters(resolve_target(data["_target_"], "data"))
    return {key: value for key, value in data.items() if key in own or key not in _DEFAULTS or value != _DEFAULTS[key]}


def check_data(data: Config, split: str | None, run: Run) -> "Dataset | Config | None":
    """Return the chosen data set, or the options of the text of ``data.paths``; ``None``: the run's own data.

    Raises:
        UserError: an option is wrong, or cannot be combined with another.
    """
    if "_target_" not in data:
        return text_options(data, split, is_task(run))
    from lmlab.training.preflight import check_dataset
    from lmlab.training.sections import numbers_of

    validate(data, "data")
    with numbers_of({"data": data}, "data"):
        dataset: Dataset = build(data)
    check_dataset(dataset, data["_target_"])
    return dataset


def open_data(
    data: "Dataset | Config | None",
    trained: "Trained",
    paths: Paths,
    split: str | None,
    context: int | None,
    shots: int,
    batch_size: int,
    decoding: Settings | None = None,
    documents: Literal["packed", "separate"] | None = None,
) -> ScoredData:
    """Open data for a run's model; what was not tokenised before, with its tokenizer, is tokenised.

    Args:
        data: as :func:`check_data` returns them.
        split: ``None``: the first that a validation scores.
        shots: number of training examples before every prompt.
        decoding: settings of decoding in place of the task's own.
        documents: read the documents of a text as one stream, or each by itself; ``None``: as in training.

    Raises:
        UserError: the data are missing or have changed, the tokenizer does not represent them, there are no examples
            for ``shots``, no answers for ``decoding``, or no ``documents``.
    """
    from lmlab.data.examples import Examples
    from lmlab.data.tasks import ScoredText

    separate = (documents or trained.run.experiment.batch.documents) == "separate"
    if isinstance(data, dict):
        if shots:
            raise UserError(f"shots={shots}: data.paths has no examples to put before a prompt; leave it out")
        if decoding:
            name, value = next(iter(decoding.items()))
            raise UserError(f"{name}={written(value)}: data.paths has no prompts to be answered; leave it out")
        corpus = prepared_text(data, trained.tokenizer, paths)
        options = {key: value for key, value in data.items() if value is not None}
        about = {"text": {**options, **described(corpus)}}
        # A split name of its own, so that different texts never share a column.
        of_text = {"split": f"text {about['text']['fingerprint'][:12]}", **_reading(separate)}
        return ScoredData(ScoredText(corpus, trained.context, separate), "text", of_text, about)
    if data is None:
        task = open_recorded(trained.run, paths, separate)
        check_same_data(trained.run, task)
    else:
        task = open_other(data, trained, paths, batch_size, separate)
    split = split or task.scored_splits[0]
    task = task.for_evaluation(split, None)  # refuses a split that there is not
    record = task.describe()
    own = data is None or _is_own(record, trained.run.manifest["data"])
    usual = task.decoding(split)
    if not own:
        length = None if _is_length_typed() else re.search(r"length=\d+", usual)
        usual = f"greedy=true {length[0]}" if length else ""
    if decoding:
        task = task.with_decoding(split, decoding)
    if context is None and isinstance(data, Examples):
        context = trained.context
    task = task.for_evaluation(split, context)
    if documents is not None and documents != ("separate" if task.separate else "packed"):
        raise UserError(f"documents={documents}: the {split} split of these data is no text in documents; leave it out")
    if shots:
        task = task.with_shots(split, shots)
    if shots or not own:
        for note in task.notes_of(split):
            tables.say(note)
    fingerprint = record.get("corpus_fingerprint", task.fingerprint)
    counts = {name: task.counts(split).get(name, 0) for name in ("unknown", "unspelled")}
    about = {"data": {"name": record["name"], "fingerprint": fingerprint, **counts}}
    settings: dict[str, Any] = {"split": split}
    if not own:
        settings["data"] = f"{record['name']} {fingerprint[:12]}"
    if shots:
        settings["shots"] = shots
    if (line := task.decoding(split)) != usual:
        settings["decoding"] = line
    settings |= _reading(task.separate)
    return ScoredData(task, split, settings, about)


def _is_own(data: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Return whether data are those of a run's record, read and answered as there."""
    keys = ("fingerprint", *({"template", "metrics", "decoding"} & data.keys() & recorded.keys()))
    return all(data[key] == recorded[key] for key in keys)


def _is_length_typed() -> bool:
    return any(option_of(word) == "data.length" for word in typed_words())


def splits_of(run: Run, data: Config, split: str | None, needs: str | None = None) -> list[str | None]:
    """Return the splits to be scored, one after the other: of a mixture the split of each part, otherwise ``split``.

    A part without that split, or for which the command has options that it lacks, is left out, with a note.

    Args:
        data: the section ``data`` of the command.
        split: as it was typed: the name of a part, or of a split of all parts (``None``: those of validations).
        needs: a field that the record of a part must have: ``decoding`` if it generates answers.

    Raises:
        UserError: no part has the split.
    """
    own = data.get("_target_") is None and data.get("paths") is None
    parts = at(run.manifest, "data.parts") if own else data.get("parts") if "weights" in data else None
    if not parts or (split or "").partition(":")[0] in parts:
        return [split]
    having = list(parts)
    if own and split is not None:
        having = [name for name, part in parts.items() if split in part.get("splits", {})]
        if not having:
            splits = {name for part in parts.values() for name in part.get("splits", {})}
            near = nearest(split, [*parts, *splits])
            raise UserError(f"split={split}: no part of the mixture has such a split{near}")
        for name in parts:
            if name not in having:
                tables.say(f"{name} has no {split} split")
    if own and needs is not None and (fitting := [name for name in having if needs in parts[name]]):
        if others := [name for name in having if name not in fitting]:
            tables.say(f"without {', '.join(others)}, which {'has' if len(others) == 1 else 'have'} no such answers")
        having = fitting
    return [name if split in (None, VALIDATION) else f"{name}:{split}" for name in having]


def _reading(separate: bool) -> dict[str, Any]:
    """Return the setting for documents that are read one by one, which earlier versions did not have."""
    return {"documents": "separate"} if separate else {}


def open_other(data: "Dataset", trained: "Trained", paths: Paths, batch_size: int, separate: bool) -> "Task":
    """Open data that a run was not trained on, with its tokenizer and its context.

    Raises:
        UserError: the data are missing or faulty, or the tokenizer does not represent them.
    """
    from lmlab.data.dataset import Opening
    from lmlab.data.examples import Examples
    from lmlab.data.synthetic.generator import Generator
    from lmlab.data.tokenizers import Symbols

    tokenizer, run = trained.tokenizer, trained.run
    if isinstance(data, Generator) != isinstance(tokenizer, Symbols):
        symbols = "a generated task, whose symbols" if isinstance(data, Generator) else "text, which"
        raise UserError(
            f"data={data.name}: is {symbols} the tokenizer of {run.path.name} ({type(tokenizer).__name__}) does not "
            "represent"
        )
    if isinstance(data, Generator) and data.vocabulary != tokenizer.size:
        raise UserError(
            f"data={data.name}: has {data.vocabulary:,} symbols, and the tokenizer of {run.path.name} represents "
            f"{tokenizer.size:,}"
        )
    folders = Folders.of(paths)
    room = data.length + 2 if isinstance(data, Examples) else 0  # scored with another context, or shorter answers
    opening = Opening(
        tokenizer,
        run.experiment.seed,
        batch_size,
        max(trained.context, room),
        carry_state=False,
        validation_tokens=None,
        cache=folders.cache,
        corpora=folders.corpora,
        progress=True,
        trains=False,
        separate=separate,
    )
    try:
        return data.open(opening)
    except UserError as error:
        option = f"data={data.name}: "
        raise UserError(str(error) if str(error).startswith("data") else f"{option}{error}") from error


def is_task(run: Run) -> bool:
    """Return whether a run was trained on a generated task."""
    return bool(run.manifest.get("data", {}).get("licence") == "generated")


def text_options(data: Config, split: str | None, is_task: bool) -> Config | None:
    """Return the section ``data`` with absolute paths to the text that is scored instead of a split; ``None`` without.

    Raises:
        UserError: another option cannot be combined with it.
    """
    check_arguments(_text, data, "data.", name="lmlab evaluate")
    paths = data.get("paths")
    if paths is None:
        for key, value in data.items():
            if value != _DEFAULTS[key]:
                raise UserError(f"data.{key}={value}: is for the text that data.paths names; leave it out")
        return None
    if split is not None:
        raise UserError(f"split={split}: data.paths is scored as a whole; leave one of them out")
    if is_task:
        raise UserError("data.paths: this run was trained on a generated task; its splits are validation and longer")
    texts = [path and str(expanded(path).absolute()) for path in ([paths] if isinstance(paths, str) else paths)]
    return data | {"paths": texts}


def _text(
    paths: list[str] | str | None = None,
    documents: Literal["file", "line", "record"] | None = None,
    field: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
) -> None:
    """Declare the options of the section ``data`` without a choice, those of a text, and their defaults."""


_DEFAULTS = {name: parameter.default for name, parameter in signature(_text).parameters.items()}


def open_recorded(run: Run, paths: Paths, separate: bool | None = None) -> "Task":
    """Open the prepared tokens of a run's data, or prepare its text again; nothing is downloaded.

    Args:
        separate: read every document of a text by itself; ``None``: as in training.

    Raises:
        UserError: neither exists.
    """
    from lmlab.training.preflight import open_task

    try:
        config = config_here(run)
        sections = {"paths": paths, "validation": config["validation"] | {"tokens": None}}
        if separate is not None and separate != run.experiment.batch.separate:
            documents = "separate" if separate else "packed"
            sections["batch"] = config["batch"] | {"documents": documents, "carry_state": False}
        whole = Experiment.of(config | sections)
        return open_task(whole, progress=True, run=run, download=False)
    except UserError as error:
        fingerprint = run.manifest["data"]["fingerprint"][:12]
        raise UserError(
            f"run={run.id}: its tokens (fingerprint {fingerprint}) are not in {paths['cache']} any more and cannot be "
            f"prepared again: {error}"
        ) from error


def training_tasks(run: Run, paths: Paths) -> "list[Task]":
    """Open the data that a run was trained on, and those of the runs that it began from.

    Raises:
        UserError: some are missing.
    """
    tasks = [open_recorded(run, paths)]
    if (parent := at(run.config, "start.directory")) is not None:
        tasks += training_tasks(Run(Path(parent)), paths)
    return tasks


def check_same_data(run: Run, task: "Task") -> None:
    """Refuse to score data that differ from the run's own. Raises ``UserError``."""
    recorded = run.manifest["data"]["fingerprint"]
    if task.fingerprint != recorded:
        raise UserError(
            f"run={run.id}: its data have changed (fingerprint {recorded[:12]} then, {task.fingerprint[:12]} now), "
            "so a score would not be comparable"
        )


def prepared_text(text: Config, tokenizer: "Tokenizer", places: Paths) -> "TokenizedCorpus":
    """Return the text of a section ``data`` as one split, ``text``, tokenised by a run's tokenizer."""
    from lmlab.data.corpora import WholeText
    from lmlab.data.preparation import prepare

    corpus = prepare(WholeText(**text), tokenizer, Folders.of(places).cache)
    for note in corpus.notes:
        tables.say(note)
    return corpus


def described(corpus: "TokenizedCorpus") -> dict[str, Any]:
    """Return the fingerprint of a prepared text, and its sizes."""
    recorded = corpus.describe()
    return {"fingerprint": recorded["corpus_fingerprint"], **recorded["splits"]["text"]}
