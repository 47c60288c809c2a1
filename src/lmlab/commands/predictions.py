"""Predictions of ``lmlab evaluate``: beside the right answers as JSON lines; their overlap with training text."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.commands import tables
from lmlab.errors import UserError
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps, write_rows

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.data.tasks import Task
    from lmlab.runs.run import Run

FOLDER = "evaluations"
"""Folder of a run directory for the predictions of its evaluations."""

MOST_CHARACTERS = 500_000_000
"""Characters of training text that are searched for the answers, at most; a few minutes."""


def rows_of(task: "Task", split: str, judge: "Judge") -> list[dict[str, Any]]:
    """Return a record of each prediction, in the order of the examples: input, prediction, references and scores.

    Args:
        judge: has kept predictions, in the order of the task's batches.
    """
    prompts, numbers = task.prompts(split), task.scoring_order(split)
    rows = [
        {
            "number": int(number),
            "input": prediction.prompt if prompts is None else prompts[number].strip("\n"),
            "prediction": prediction.answer,
            "references": list(prediction.references),
            **prediction.scores,
            **judge.facts(prediction),
        }
        for number, prediction in zip(numbers, judge.predictions or (), strict=True)
    ]
    return sorted(rows, key=lambda row: row["number"])


def file_of(run: "Run", data: str, settings: dict[str, Any], code: str) -> Path:
    """Return the file in a run directory for the predictions of an evaluation with these settings by this code."""
    digest = hashlib.sha256(dumps([settings, code]).encode()).hexdigest()[:10]
    name = "".join(character if character.isalnum() else "-" for character in f"{data}-{settings['split']}")
    return run.path / FOLDER / f"{name}-{digest}.jsonl"


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write predictions as JSON lines, whole or not at all, and create the folder."""
    path.parent.mkdir(exist_ok=True)
    write_rows(path, rows)


def overlap_with_training(
    rows: Sequence[dict[str, Any]], training_tasks: "Callable[[], Sequence[Task]]"
) -> dict[str, Any]:
    """Return how many examples the training text of a run, and of the runs it began from, contains.

    Args:
        training_tasks: opens the tasks of these runs.

    Returns:
        The counts; ``unknown``, the reason, if training text is missing.
    """
    from lmlab.data.overlap import Overlap

    try:
        trained_on = training_tasks()
        overlap = Overlap([row["input"] for row in rows], [row["references"] for row in rows])
        shown = tables.progress_console.is_terminal
        with ProgressBar("Searching the training text for the answers", None, shown) as bar:
            texts = chain.from_iterable(task.training_texts() for task in trained_on)
            whole = overlap.read(texts, MOST_CHARACTERS, bar.advance)
    except UserError as error:
        return {"unknown": str(error)}
    return {**overlap.counts(), "whole": whole and all(task.searched_whole for task in trained_on)}


def say_overlap(overlap: dict[str, Any]) -> None:
    """Print the overlap with the training text."""
    tables.say(written_overlap(overlap), "Seen in training:", "yellow" if seen(overlap) else "bold")


def seen(overlap: dict[str, Any]) -> bool:
    """Return whether the training text contains any example, or a long answer of one."""
    return bool(overlap.get("equal") or overlap.get("answers"))


def written_overlap(overlap: dict[str, Any]) -> str:
    """Return an overlap as text."""
    if "unknown" in overlap:
        return f"not counted: {overlap['unknown']}"
    words = [f"{overlap['equal']:,} of {overlap['examples']:,} examples are training examples"]
    for kind, name in (("answers", "right answers"), ("prompts", "prompts")):
        if overlap[f"long_{kind}"]:
            words.append(f"{overlap[kind]:,} of {overlap[f'long_{kind}']:,} {name} of 8 words or more occur there")
    part = "" if overlap["whole"] else f" Only the first {MOST_CHARACTERS:,} characters of it were searched."
    return f"{', '.join(words)}.{part}"
