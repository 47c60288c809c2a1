"""Faults during training and the actions taken: rows of ``events.jsonl``.

A row has the optimizer ``step`` of the fault (from 1), ``what`` it was, the action ``done``, and related numbers.
A resumed run reads from these rows which steps to treat differently; the other rows are for users.
"""

from typing import Any

from lmlab.runs.files import append_row, flush, read_jsonl, write_rows
from lmlab.runs.run import Run, now

REPEATED = ("skip", "stop")
"""Actions that a run repeats when it resumes from an earlier step."""


def record(run: Run, step: int, what: str, done: str, **numbers: Any) -> None:
    """Append a row and flush it to disk."""
    append_row(run.events, {"step": step, "what": what, "done": done, **numbers, "time": now()})
    flush(run.events)


def done(run: Run, action: str) -> list[dict[str, Any]]:
    """Return the rows with the action ``action``, oldest first."""
    return [row for row in read_jsonl(run.events) if row["done"] == action]


def settle(run: Run, step: int) -> None:
    """Drop rows that a run resumed from ``step`` will repeat; record ``step`` as the target of the last roll back."""
    if not run.events.exists():
        return
    kept = [row for row in read_jsonl(run.events) if row["done"] not in REPEATED or row["step"] <= step]
    for row in kept:
        if row["done"] == "roll_back":
            row.setdefault("to", step)
    write_rows(run.events, kept)
