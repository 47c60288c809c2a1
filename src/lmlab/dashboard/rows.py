"""Rows and details of runs and sweeps as the page shows them, in plain containers that JSON can represent."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.analysis.records import Record
from lmlab.config.nodes import at
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.runs.files import dumps, read_json, read_jsonl
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run
from lmlab.runs.start import chain_of
from lmlab.sweeps.sweep import Sweep

LOG_BYTES = 32_768
"""Maximum size of the displayed end of a log."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Terminal control sequences (colours, cursor movements) and other unprintable characters."""


def row_of(record: Record, beat: Heartbeat | None, arm: str | None = None) -> dict[str, Any]:
    """Return a run's row in the table.

    Args:
        arm: of a study that the run belongs to; ``None``: the run is grouped by its architecture.
        beat: its newest heartbeat, which remains if a run ends without finishing.
    """
    manifest, status = record.manifest, record.status
    beat = None if status in ("finished", "created") else beat
    alive = beat if status == "running" else None
    done = 1.0 if status == "finished" else beat.step / beat.steps if beat and beat.steps else 0.0
    return {
        "id": record.id,
        "name": str(manifest["name"]),
        "arm": arm or record.architecture,
        "seed": record.seed,
        "status": status,
        "phase": alive and alive.phase,
        "done": _finite(done),
        "step": beat and beat.step,
        "steps": beat.steps if beat else at(manifest, "training.steps"),
        "left": _finite(alive.seconds_left if alive else None),
        "tokens_per_second": _finite(
            alive.tokens_per_second if alive else record.metric("timings/tokens_per_second") if not beat else None
        ),
        "metrics": _metrics(record.measures, beat.metrics if beat else manifest["metrics"]),
        "error": record.error,
        "sweep": manifest.get("sweep"),
        "stage": manifest.get("stage"),
        "start": at(manifest, "start.run"),
        "tags": [str(tag) for tag in manifest["tags"]],
        "created": str(manifest["created"]),
    }


def unreadable(run: Run, why: str) -> dict[str, Any]:
    """Return the row of a directory that cannot be read."""
    return {"id": "", "name": run.path.name, "arm": "", "status": "unreadable", "error": why, "created": "", "tags": []}


def details_of(run: Run) -> dict[str, Any]:
    """Return the details of a run for the page. Raises ``UserError`` if the run cannot be read."""
    from lmlab.analysis.commands import command_of

    record = Record.of(run)
    manifest = record.manifest
    return {
        "path": str(run.path),
        "command": command_of(record) or "",
        "chain": chain_of(run),
        "attempts": [
            {key: attempt.get(key) for key in ("started", "ended", "host", "status", "error")}
            for attempt in manifest["attempts"]
        ],
        "traceback": _traceback(run),
        "log": _log_end(run.log),
        "events": [dumps(row) for row in _rows(run.events)[-5:]],
        "sample": next((str(row.get("text", "")) for row in reversed(_rows(run.samples))), None),
    }


def _log_end(path: Path) -> str:
    """Return the last complete lines of a text file, at most ``LOG_BYTES``, without terminal control sequences."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    if size > LOG_BYTES:
        text = text.partition("\n")[2]
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def sweep_row(sweep: Sweep) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the row of a sweep and, for the sweep of a study, the arms of its runs by directory name."""
    try:
        jobs = sweep.jobs
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.status] = counts.get(job.status, 0) + 1
        row = {
            "name": sweep.path.name,
            "status": sweep.status,
            "counts": counts,
            "to_come": sweep.to_come,
            "errors": [f"job {job.number + 1}: {job.error}" for job in jobs if job.status == "failed" and job.error],
            "command": sweep.command,
            "created": str(sweep.definition["created"]),
        }
        return row, {Path(job.path).name: job.arm for job in jobs if job.arm and job.path}
    except (UserError, ValueError, KeyError, TypeError) as error:
        nothing = {"counts": {}, "to_come": 0, "command": "", "created": ""}
        return {"name": sweep.path.name, "status": "unreadable", "errors": [str(error)], **nothing}, {}


def _metrics(measures: Measures, values: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the finite values of the metrics that tables show, as numbers and as text."""
    finite = {name: value for name in measures.shown if (value := _finite(values.get(name))) is not None}
    return {name: {"value": value, "text": measures.written(name, value)} for name, value in finite.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return read_jsonl(path)
    except ValueError:
        return []


def _traceback(run: Run) -> str:
    try:
        return str(read_json(run.error)["traceback"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
