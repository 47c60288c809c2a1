"""What went wrong while a run trained and what was done about it: lines of ``events.jsonl``.

A row has the optimizer ``step`` that it happened in (from 1), ``what`` it was, what was ``done``, and the numbers that
belong to it. A run that goes on reads from here what to do differently; the other rows are for people.
"""

from typing import Any

from lmlab.runs.files import append_row, flush, read_jsonl, write_rows
from lmlab.runs.run import Run, now

REPEATED = ("skip", "stop")
"""What a run that goes on from an earlier step does again."""


def record(run: Run, step: int, what: str, done: str, **numbers: Any) -> None:
    """Append a row; it is on disk when this returns."""
    append_row(run.events, {"step": step, "what": what, "done": done, **numbers, "time": now()})
    flush(run.events)


def done(run: Run, action: str) -> list[dict[str, Any]]:
    """Return the rows in which ``action`` was done, oldest first."""
    return [row for row in read_jsonl(run.events) if row["done"] == action]


def settle(run: Run, step: int) -> None:
    """Before a run goes on from ``step``: leave out what it will do again, note where the last roll back led to."""
    if not run.events.exists():
        return
    kept = [row for row in read_jsonl(run.events) if row["done"] not in REPEATED or row["step"] <= step]
    for row in kept:
        if row["done"] == "roll_back":
            row.setdefault("to", step)
    write_rows(run.events, kept)
