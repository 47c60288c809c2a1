"""What lies in the outputs folder, kept up to date by a thread, so that every answer is at hand.

Each pass looks at every run directory and reads again what has changed. Curves are read only of runs that somebody
looks at. Everything that changes gets the next number, and a page asks for what has changed since the number it knows.
"""

import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.analysis.records import Record, together
from lmlab.dashboard import rows
from lmlab.dashboard.growing import Growing
from lmlab.errors import UserError
from lmlab.metrics import Measures
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Sweep, all_sweeps

BETWEEN_PASSES = 0.5
"""Seconds."""
KEPT = 60.0
"""Seconds for which the curves of a run stay in memory after somebody has asked for them."""

Stamp = tuple[int, int, int] | None


@dataclass(eq=False)
class Entry:
    """What is known of one run directory.

    Attributes:
        seen: the manifest that its row was made of, as it was.
        changed: the number of its row's last change.
        grown: the number of its curves' last change.
        wanted: until when its curves are to be kept up to date, by the clock that only grows.
    """

    run: Run
    row: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None
    seen: Stamp = None
    changed: int = 0
    grown: int = 0
    wanted: float = 0.0
    growing: Growing | None = None


class SweepEntry(NamedTuple):
    """What is known of one sweep's directory.

    Attributes:
        seen: its two files that the rest was made of, as they were.
        arms: of a study's runs, by their keys.
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
        """Numbers of another session mean nothing in this one."""
        self.complete = False
        """Whether every run has been looked at once."""
        self._entries: dict[str, Entry] = {}
        self._removed: dict[str, int] = {}
        self._sweeps: dict[str, SweepEntry] = {}
        self._arms: dict[str, str] = {}
        """Of the newest study that a run belongs to, by the run's key."""
        self._sweeps_changed = 0
        self._number = 0
        self._measures = 0, together([])
        """With the number that they are of."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._keep, daemon=True, name="dashboard-index")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def run(self, key: str) -> Run:
        """The run in the directory of that name. Raises ``UserError`` if none was found."""
        with self._lock:
            if key not in self._entries:
                raise UserError("there is no such run in the outputs folder")
            return self._entries[key].run

    def sweep(self, name: str) -> Sweep:
        """The sweep in the directory of that name. Raises ``UserError`` if none was found."""
        with self._lock:
            if name not in self._sweeps:
                raise UserError("there is no such sweep in the outputs folder")
        return Sweep(self.outputs / "sweeps" / name)

    def changes(self, since: int) -> dict[str, Any]:
        """What has changed after number ``since``: rows by key, runs that are gone, and all sweeps if any has."""
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
        """The metrics of all runs that could be read."""
        with self._lock:
            number, records = self._number, [entry.record for entry in self._entries.values() if entry.record]
        if self._measures[0] != number:
            self._measures = number, together(records)
        return self._measures[1]

    def curves(self, keys: list[str], metric: str, axis: str, points: int, since: int) -> dict[str, Any]:
        """The curves of runs that have grown after number ``since``, and whether some are still to be read."""
        until = time.monotonic() + KEPT
        with self._lock:
            chosen = {key: self._entries[key] for key in keys if key in self._entries}
            for entry in chosen.values():
                entry.wanted = until
            number = self._number
        pending = [entry for entry in chosen.values() if entry.growing is None]
        if pending:
            self._wake.set()
        read = {key: entry.growing for key, entry in chosen.items() if entry.growing is not None}
        metrics = dict.fromkeys(name for growing in read.values() for name in growing.curves.metrics)
        grown = {key: growing.drawn(metric, axis, points) for key, growing in read.items() if chosen[key].grown > since}
        return {"number": number, "curves": grown, "metrics": sorted(metrics), "pending": bool(pending)}

    def _keep(self) -> None:
        while not self._stopped:
            self._wake.clear()
            with suppress(OSError):  # the folder may be gone for a moment
                self.look()
            self._wake.wait(BETWEEN_PASSES)

    def look(self) -> None:
        """Make one pass."""
        self._look_at_sweeps()  # which say what arm a run belongs to
        found = _directories(self.outputs / "runs")
        for key, path in found.items():
            self._look_at(key, path)
            if self._wake.is_set():  # somebody waits for curves
                self._wake.clear()
                self._grow()
        with self._lock:
            for key in self._entries.keys() - found.keys():
                del self._entries[key]
                self._number += 1
                self._removed[key] = self._number
            self.complete = True
        self._grow()

    def _look_at(self, key: str, path: str) -> None:
        entry, seen = self._entries.get(key), _stamp(f"{path}/run.json")
        if seen is None and entry is None:  # being laid out
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
            # Without the configuration, which takes longer to read than all the rest and is not shown.
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
            known = self._sweeps.get(sweep.path.name)
            if known is not None and known.seen == stamps and known.row["status"] != "running":
                sweeps[sweep.path.name] = known
            else:
                sweeps[sweep.path.name] = SweepEntry(stamps, *rows.sweep_row(sweep))
        by_age = sorted(sweeps.values(), key=lambda known: str(known.row["created"]))
        arms = {key: arm for known in by_age for key, arm in known.arms.items()}
        with self._lock:
            if [known.row for known in sweeps.values()] != [known.row for known in self._sweeps.values()]:
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
            if entry.wanted < now:
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
    """What tells one state of a file from the next: files are replaced whole."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
