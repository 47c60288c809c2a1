"""Read ``metrics.jsonl`` into columns that keep all extremes and have a bounded size.

A stretch is ``2 ** k`` consecutive lines of ``metrics.jsonl``, counted from its start. Each metric has the smallest
``k`` for which at most a fixed number of stretches hold a value of it. From each stretch the first row with the least
and the first row with the greatest value are kept, as are the first and last value of the metric. Stretches of a
larger ``k`` consist of whole stretches of a smaller one, so the kept rows are the same whether the file was read at
once or as it grew. Their number does not depend on the length of the log. A metric with fewer values than stretches
keeps all of them. A finished run writes these columns to ``curves.npz`` beside its log, which is read instead of the
log as long as the log is unchanged.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import numpy as np

from lmlab.runs.files import write_whole
from lmlab.runs.rows import PLACES, Array, Numbers, Rows, parse

CURVES = "curves.npz"
"""Name of the file beside a finished run's log with the kept rows."""
FORMAT = 1
"""Version of the file; increases when the selection of rows changes."""
ROWS = 4000
"""Approximate number of kept rows; each metric has an equal share, half for least and half for greatest values."""
FEWEST = 16
"""Minimum number of stretches of a metric, independent of the number of metrics."""
MEASURED = ("time/seconds", "time/joules")
"""Columns that are axes, not metrics: a validation row repeats those of the training row at the same step."""

MISSING = "is missing"

_END = 256
"""Number of bytes before the end of the read part; they distinguish a file that grew from a replaced one."""
_BLOCK = 1 << 25
"""Number of bytes read at once."""


@dataclass(frozen=True)
class Marks:
    """Problems of the rows read so far.

    Attributes:
        broken, first_broken: number of invalid lines, and the number of the first, from 1.
        repeated, first_repeated: number of rows dropped because a metric already had a value for that or a later step,
            and the step of the first.
        not_finite: see :class:`lmlab.runs.rows.Rows`.
    """

    broken: int = 0
    first_broken: int = 0
    repeated: int = 0
    first_repeated: int = 0
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """Content kept of the log up to a position in the file.

    Attributes:
        numbers, columns: see :class:`lmlab.runs.rows.Rows`.
        lines, size: number of lines and bytes read.
        end: the last bytes before that position.
    """

    numbers: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    columns: dict[str, Array] = field(default_factory=lambda: {name: np.zeros(0) for name in PLACES})
    lines: int = 0
    size: int = 0
    end: bytes = b""
    marks: Marks = field(default_factory=Marks)

    def extended(self, content: bytes) -> "Logged":
        """Return this content extended by the complete lines ``content`` that follow."""
        rows = parse(content)
        numbers = np.concatenate([self.numbers, rows.numbers + self.lines])
        nothing = [np.full(len(part), np.nan) for part in (self.numbers, rows.numbers)]
        columns = {
            name: np.concatenate([self.columns.get(name, nothing[0]), rows.columns.get(name, nothing[1])])
            for name in dict.fromkeys([*self.columns, *rows.columns])
        }
        left, repeated = _without_repetitions(columns)
        numbers, columns = numbers[left], {name: values[left] for name, values in columns.items()}
        kept = _kept(numbers, columns)
        return Logged(
            numbers[kept],
            {name: values[kept] for name, values in columns.items()},
            self.lines + content.count(b"\n"),
            self.size + len(content),
            (self.end + content)[-_END:],
            self._marks(rows, repeated),
        )

    def write(self, path: Path) -> None:
        """Write the content to ``path`` atomically, as an archive in numpy's format."""
        about = {
            "format": FORMAT,
            "names": list(self.columns),
            "lines": self.lines,
            "size": self.size,
            "end": self.end.hex(),
            "marks": asdict(self.marks),
        }
        values = np.stack([self.numbers.astype(np.float64), *self.columns.values()])

        def write(temporary: Path) -> None:
            with ZipFile(temporary, "w") as archive:
                archive.writestr("about.json", json.dumps(about))
                with archive.open("values.npy", "w") as file:
                    np.lib.format.write_array(file, values)

        write_whole(path, write)

    @classmethod
    def read(cls, path: Path) -> "Logged | None":
        """Return the content that :meth:`write` wrote to ``path``; ``None``: missing, damaged or of another format."""
        try:
            with ZipFile(path) as archive:
                about, array = json.loads(archive.read("about.json")), archive.read("values.npy")
            if about["format"] != FORMAT:
                return None
            # The header of the array is redundant, and numpy takes longer to parse it than to read all the rest.
            header = 10 + int.from_bytes(array[8:10], "little")
            values = np.frombuffer(array, offset=header).reshape(1 + len(about["names"]), -1)
            not_finite = {name: (count, step) for name, (count, step) in about["marks"]["not_finite"].items()}
            return cls(
                values[0].astype(np.int64),
                dict(zip(about["names"], values[1:], strict=True)),
                about["lines"],
                about["size"],
                bytes.fromhex(about["end"]),
                Marks(**about["marks"] | {"not_finite": not_finite}),
            )
        except Exception:  # any defect: the log has the same content and more
            return None

    def _marks(self, rows: Rows, repeated: Array) -> Marks:
        marks = self.marks
        if len(rows.broken):
            first = marks.first_broken or self.lines + rows.broken[0] + 1
            marks = replace(marks, broken=marks.broken + len(rows.broken), first_broken=first)
        if len(repeated):
            first = marks.first_repeated if marks.repeated else int(repeated[0])  # a step, which may be 0
            marks = replace(marks, repeated=marks.repeated + len(repeated), first_repeated=first)
        if rows.not_finite:
            counts = dict(marks.not_finite)
            for name, (count, step) in rows.not_finite.items():
                before, first = counts.get(name, (0, step))
                counts[name] = (before + count, min(first, step))
            marks = replace(marks, not_finite=counts)
        return marks


def _without_repetitions(columns: dict[str, Array]) -> tuple[np.ndarray, Array]:
    """Remove, in place, the values of steps that are not beyond the last step of their metric.

    Return a mask of the remaining rows (those that kept a value or lost none), and the steps of rows that lost one.
    """
    steps = columns["step"]
    lost = np.zeros(len(steps), dtype=bool)
    remains = np.zeros(len(steps), dtype=bool)
    for name, values in columns.items():
        if name in PLACES or name in MEASURED:
            continue
        present = np.flatnonzero(~np.isnan(values))
        furthest = np.maximum.accumulate(steps[present])
        again = present[1:][steps[present][1:] <= furthest[:-1]]
        if len(again):
            values[again] = np.nan
            lost[again] = True
        remains |= ~np.isnan(values)
    return remains | ~lost, steps[lost]


def _kept(numbers: Numbers, columns: dict[str, Array]) -> np.ndarray:
    """Return a mask of the rows to keep."""
    kept = np.zeros(len(numbers), dtype=bool)
    metrics = [name for name in columns if name not in PLACES]
    most = max(FEWEST, ROWS // (2 * max(1, len(metrics))))
    kept[[0, -1] if len(kept) else []] = True
    for name in metrics:
        present = np.flatnonzero(~np.isnan(columns[name]))
        if not len(present):
            continue
        values, lines = columns[name][present], numbers[present]
        length = 0
        while len(starts := _starts(lines >> length)) > most:
            length += 1
        stretch = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(present)))
        for extreme in (np.minimum, np.maximum):
            at = np.flatnonzero(values == extreme.reduceat(values, starts)[stretch])
            kept[present[at[_starts(stretch[at])]]] = True
        kept[present[[0, -1]]] = True
    return kept


def _starts(ascending: np.ndarray) -> np.ndarray:
    """Return the indices at which a new value begins in an ascending array."""
    begins = np.ones(len(ascending), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
    return begins.nonzero()[0]


class Log:
    """``metrics.jsonl`` of a run, read incrementally; a replaced file is read from its start.

    Args:
        path: the file. A finished run has ``curves.npz`` beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logged = Logged()
        self.cut_short = False
        """The last line is incomplete: it is being written, or its writer was killed."""
        self.trouble: str | None = None
        """Reason why the file cannot be read."""
        self._state: tuple[int, int, int] | None = None
        """Inode, size and time of the file when it was last read."""

    def read(self) -> bool:
        """Read the lines added since the last call; return whether anything has changed.

        A missing or unreadable file counts as empty; :attr:`trouble` has the reason.
        """
        before = self.logged, self.cut_short, self.trouble
        try:
            self._read()
        except OSError as error:
            self.trouble = MISSING if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            self._state, self.cut_short = None, False
            if self.logged.lines:
                self.logged = Logged()
        return self.logged is not before[0] or (self.cut_short, self.trouble) != before[1:]

    def write_curves(self) -> None:
        """Read the complete log and write its kept rows to ``curves.npz``; nothing may be logged afterwards."""
        if self.path.exists():
            self.read()
            self.logged.write(self.path.with_name(CURVES))

    def problems(self, growing: bool = False) -> list[str]:
        """Return the problems of the log, one line each.

        Args:
            growing: rows are still being written, so the file may be missing and its last line incomplete.
        """
        marks, name = self.logged.marks, self.path.name
        lines = [f"{name} {self.trouble}"] if self.trouble and not (growing and self.trouble == MISSING) else []
        if marks.broken:
            lines.append(f"{name}: skipped {marks.broken} invalid lines (first: line {marks.first_broken})")
        if self.cut_short and not growing:
            lines.append(f"{name}: skipped the last line, which is cut short")
        if marks.repeated:
            lines.append(
                f"{name}: skipped {marks.repeated} rows that repeat earlier steps (first: step {marks.first_repeated})"
            )
        for metric, (count, step) in marks.not_finite.items():
            lines.append(f"{metric} is not finite in {count} rows (first: step {step})")
        return lines

    def _read(self) -> None:
        state = _state_of(self.path.stat())
        if state != self._state:
            curves = self._curves(state) if self._state is None else None
            if curves is not None:
                self.logged, self.cut_short, self._state = curves, False, state
            else:
                with self.path.open("rb") as file:
                    self._read_on(file)
        self.trouble = None

    def _curves(self, state: tuple[int, int, int]) -> Logged | None:
        """Return the kept rows that a finished run wrote, unless the log was modified afterwards."""
        path = self.path.with_name(CURVES)
        try:
            if path.stat().st_mtime_ns < state[2]:
                return None
        except OSError:
            return None
        logged = Logged.read(path)
        return logged if logged is not None and logged.size == state[1] else None

    def _read_on(self, file: IO[bytes]) -> None:
        state = _state_of(os.fstat(file.fileno()))
        end = self.logged.end
        file.seek(self.logged.size - len(end))
        if self._state is None or state[0] != self._state[0] or file.read(len(end)) != end:
            self.logged = Logged()
            file.seek(0)
        rest = b""
        while block := file.read(_BLOCK):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                self.logged = self.logged.extended(whole + newline)
        self._state, self.cut_short = state, bool(rest)


def _state_of(file: os.stat_result) -> tuple[int, int, int]:
    return file.st_ino, file.st_size, file.st_mtime_ns
