"""An index of the outputs folder, updated by a thread so that requests are answered from memory.

Each pass checks every run directory and rereads those that changed. Curves are read only for runs that a page
displays. Every change gets the next number, and a page requests the changes after the number of its last update.
"""

import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmlab.analysis.curves import Array, Curves, thinned
from lmlab.analysis.records import Record, together
from lmlab.dashboard import rows
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.logged import Log
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Sweep, all_sweeps

BETWEEN_PASSES = 0.5
"""Seconds between two passes."""
KEPT = 60.0
"""Seconds for which the curves of a run stay in memory after a page has requested them."""

Stamp = tuple[int, int, int] | None


Drawn = dict[str, list[float]] | None
"""``x``, ``y`` and ``step``, equally long."""


class Growing:
    """Curves of the rows that a run has logged so far.

    Args:
        path: ``metrics.jsonl``.
        flops_per_token: see :class:`lmlab.analysis.curves.Curves`.
    """

    def __init__(self, path: Path, flops_per_token: float) -> None:
        self._log = Log(path)
        self._drawn: dict[tuple[str, str, int], tuple[Curves, Drawn]] = {}
        self.curves = Curves(self._log.logged.columns, flops_per_token)

    def read(self) -> bool:
        """Read the rows added since the last call; return whether anything has changed."""
        changed = self._log.read()
        if changed:
            # A new object each time, because another thread may still be drawing the old one.
            self.curves = Curves(self._log.logged.columns, self.curves.flops_per_token)
        return changed

    def drawn(self, metric: str, axis: str, points: int) -> Drawn:
        """Return a metric against an axis with at most ``points`` points, without values that are not finite.

        ``None`` if the metric was not logged or the axis is unknown.
        """
        key, curves = (metric, axis, points), self.curves
        drawn = self._drawn.get(key)
        if drawn is None or drawn[0] is not curves:
            curve = curves.curve(metric, axis)
            steps = curves.curve(metric, "step")
            drawn = self._drawn[key] = curves, curve and steps and _plain(*curve, steps[0], points)
        return drawn[1]


def _plain(x: Array, y: Array, steps: Array, points: int) -> Drawn:
    finite = np.flatnonzero(np.isfinite(y) & np.isfinite(x))
    kept = thinned(finite.astype(np.float64), y[finite], points)[0].astype(int)
    return {"x": x[kept].tolist(), "y": y[kept].tolist(), "step": steps[kept].tolist()}


@dataclass(eq=False)
class Entry:
    """The indexed state of one run directory.

    Attributes:
        seen: stamp of the manifest from which the row was built.
        changed: number of the row's last change.
        grown: number of the curves' last change.
        needed_until: monotonic time until which the curves are kept up to date.
    """

    run: Run
    row: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None
    seen: Stamp = None
    changed: int = 0
    grown: int = 0
    needed_until: float = 0.0
    growing: Growing | None = None


class SweepEntry(NamedTuple):
    """The indexed state of one sweep directory.

    Attributes:
        seen: stamps of the two files from which the rest was built.
        arms: arms of a study's runs, by run key.
    """

    seen: tuple[Stamp, Stamp]
    row: dict[str, Any]
    arms: dict[str, str]


class Index:
    """The runs and sweeps of an outputs folder.

    Args:
        outputs: the folder that holds ``runs`` and ``sweeps``.
        cache: see :class:`lmlab.analysis.records.Record`.
    """

    def __init__(self, outputs: Path, cache: Path | None = None) -> None:
        self.outputs = outputs
        self.cache = cache
        self.session = secrets.token_hex(8)
        """Identifies this process; numbers are comparable within one session only."""
        self.complete = False
        """``True`` once every run has been read."""
        self._entries: dict[str, Entry] = {}
        self._removed: dict[str, int] = {}
        self._sweeps: dict[str, SweepEntry] = {}
        self._arms: dict[str, str] = {}
        """Arm in the newest study that a run belongs to, by run key."""
        self._sweeps_changed = 0
        self._number = 0
        self._measures = 0, together([])
        """The metrics of all runs, with the number at which they were collected."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._keep, daemon=True, name="dashboard-index")

    def start(self) -> None:
        """Start the watcher thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the watcher thread."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def run(self, key: str) -> Run:
        """Return the run in the directory ``key``. Raises ``UserError`` if there is none."""
        with self._lock:
            if key not in self._entries:
                raise UserError("no such run in the outputs folder")
            return self._entries[key].run

    def sweep(self, name: str) -> Sweep:
        """Return the sweep in the directory ``name``. Raises ``UserError`` if there is none."""
        with self._lock:
            if name not in self._sweeps:
                raise UserError("no such sweep in the outputs folder")
        return Sweep(self.outputs / "sweeps" / name)

    def changes(self, since: int) -> dict[str, Any]:
        """Return the changes after number ``since``: rows by key, removed runs, and all sweeps if any has changed."""
        with self._lock:
            return {
                "session": self.session,
                "number": self._number,
                "complete": self.complete,
                "runs": {key: entry.row for key, entry in self._entries.items() if entry.changed > since},
                "removed": [key for key, number in self._removed.items() if number > since] if since else [],
                "sweeps": [sweep.row for sweep in self._sweeps.values()] if self._sweeps_changed > since else None,
            }

    def measures(self) -> Measures:
        """Return the metrics of all runs that could be read."""
        with self._lock:
            number, records = self._number, [entry.record for entry in self._entries.values() if entry.record]
        if self._measures[0] != number:
            self._measures = number, together(records)
        return self._measures[1]

    def curves(self, keys: list[str], metric: str, axis: str, points: int, since: int) -> dict[str, Any]:
        """Return the curves of runs that have grown after number ``since``, and whether some are not read yet."""
        until = time.monotonic() + KEPT
        with self._lock:
            entries = {key: self._entries[key] for key in keys if key in self._entries}
            for entry in entries.values():
                entry.needed_until = until
            number = self._number
        pending = [entry for entry in entries.values() if entry.growing is None]
        if pending:
            self._wake.set()
        read = {key: entry.growing for key, entry in entries.items() if entry.growing is not None}
        metrics = dict.fromkeys(name for growing in read.values() for name in growing.curves.metrics)
        grown = {
            key: growing.drawn(metric, axis, points) for key, growing in read.items() if entries[key].grown > since
        }
        return {"number": number, "curves": grown, "metrics": sorted(metrics), "pending": bool(pending)}

    def _keep(self) -> None:
        while not self._stopped:
            self._wake.clear()
            with suppress(OSError):  # the folder may be unavailable for a moment
                self.look()
            self._wake.wait(BETWEEN_PASSES)

    def look(self) -> None:
        """Scan the outputs folder once."""
        self._look_at_sweeps()  # first, because they give the arms of runs
        directories = _directories(self.outputs / "runs")
        for key, path in directories.items():
            self._look_at(key, path)
            if self._wake.is_set():  # a request waits for curves
                self._wake.clear()
                self._grow()
        with self._lock:
            for key in self._entries.keys() - directories.keys():
                del self._entries[key]
                self._number += 1
                self._removed[key] = self._number
            self.complete = True
        self._grow()

    def _look_at(self, key: str, path: str) -> None:
        entry, seen = self._entries.get(key), _stamp(f"{path}/run.json")
        if seen is None and entry is None:  # being created
            return
        entry = entry or Entry(Run(Path(path)))
        if seen == entry.seen and entry.row["status"] != "running":
            return
        try:
            same = entry.record is not None and seen == entry.seen
            manifest = entry.record.manifest if same and entry.record else entry.run.manifest
            status = manifest["status"]
            if status == "running" and not entry.run.is_locked():
                status = "interrupted"
            # Without the configuration, which is slow to read and not displayed.
            record = Record(entry.run, manifest, {}, status)
            row = rows.row_of(record, Heartbeat.read(entry.run), self._arms.get(key))
        except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
            record, row = None, rows.unreadable(entry.run, f"{type(error).__name__}: {error}")
        with self._lock:
            entry.seen, entry.record = seen, record
            if row != entry.row:
                self._number += 1
                entry.row, entry.changed = row, self._number
            self._entries[key] = entry
            self._removed.pop(key, None)

    def _look_at_sweeps(self) -> None:
        sweeps = {}
        for sweep in all_sweeps(self.outputs / "sweeps"):
            stamps = (_stamp(str(sweep.path / "sweep.json")), _stamp(str(sweep.path / "jobs.json")))
            earlier = self._sweeps.get(sweep.path.name)
            if earlier is not None and earlier.seen == stamps and earlier.row["status"] != "running":
                sweeps[sweep.path.name] = earlier
            else:
                sweeps[sweep.path.name] = SweepEntry(stamps, *rows.sweep_row(sweep))
        by_age = sorted(sweeps.values(), key=lambda entry: str(entry.row["created"]))
        arms = {key: arm for entry in by_age for key, arm in entry.arms.items()}
        with self._lock:
            if [entry.row for entry in sweeps.values()] != [entry.row for entry in self._sweeps.values()]:
                self._number += 1
                self._sweeps_changed = self._number
            self._sweeps = sweeps
            for key, entry in self._entries.items():
                if arms.get(key) != self._arms.get(key):
                    entry.seen = None  # to be looked at again
            self._arms = arms

    def _grow(self) -> None:
        now = time.monotonic()
        for entry in list(self._entries.values()):
            if entry.needed_until < now:
                entry.growing = None
                continue
            first = entry.growing is None
            flops = float("nan") if entry.record is None else entry.record.flops_per_token
            growing = entry.growing or Growing(entry.run.metrics, flops)
            grown = growing.read()
            with self._lock:
                entry.growing = growing
                if grown or first:
                    self._number += 1
                    entry.grown = self._number


def _directories(folder: Path) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except FileNotFoundError:
        return {}


def _stamp(path: str) -> Stamp:
    """Return the inode, time and size of a file, which change when it is replaced; ``None`` if it is missing."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
