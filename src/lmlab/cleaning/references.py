"""Runs that something else in an outputs folder needs: a study, a sweep that goes on, a run that began with them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lmlab.analysis.records import Record
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Sweep, all_sweeps


def references(sweeps: Path, records: Sequence[Record]) -> dict[Path, str]:
    """Return the resolved directories of runs that something else needs, and what that is.

    Args:
        sweeps: the folder of sweeps.
        records: all runs; they say which run they began with, and which sweep asked for them.
    """
    reasons: dict[Path, str] = {}
    unreadable = {}
    for sweep in all_sweeps(sweeps):
        try:
            reason = _reason(sweep)
            paths = [] if reason is None else [job.path for job in sweep.jobs if job.path is not None]
        except (UserError, OSError, ValueError, TypeError, KeyError):
            unreadable[sweep.path.name] = f"belongs to {sweep.path.name}, a sweep that cannot be read"
            continue
        reasons |= {Path(path).resolve(): reason for path in paths if reason is not None}
    by_id = {record.id: record.run.path.resolve() for record in records}
    for record in records:
        if start := record.manifest.get("start"):
            parent = by_id.get(str(start.get("run")))
            reasons |= {} if parent is None else {parent: f"{record.run.path.name} began with its weights"}
        if (reason := unreadable.get(str(record.manifest.get("sweep")))) is not None:
            reasons[record.run.path.resolve()] = reason
    return reasons


def _reason(sweep: Sweep) -> str | None:
    """Return why the runs of a sweep are needed; ``None``: they are not."""
    name = sweep.path.name
    remove = f"rm -r {shlex.quote(str(sweep.path))}"
    if sweep.definition.get("study") is not None:
        return f"belongs to the study {name} (to give that up: {remove})"
    if (status := sweep.status) == "running":
        return f"belongs to the sweep {name}, which is running"
    if status != "finished":
        return f"belongs to the sweep {name}, which has not ended (lmlab sweep resume name={name}; or {remove})"
    return None
