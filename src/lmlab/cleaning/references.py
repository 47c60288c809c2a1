"""Runs that something else in an outputs folder needs."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from lmlab.analysis.records import Record
from lmlab.errors import UserError
from lmlab.sweeps.sweep import Sweep, all_sweeps


def references(sweeps: Path, records: Iterable[Record]) -> dict[Path, str]:
    """Return the resolved directories of runs that a study or a sweep that has not ended needs, and which one.

    Args:
        sweeps: the folder of sweeps.
        records: runs that say themselves which sweep asked for them, in case that one cannot be read.
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
    for record in records:
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
