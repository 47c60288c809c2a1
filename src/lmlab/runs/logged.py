"""Read ``metrics.jsonl``: columns that keep every extreme and never grow beyond a size.

A stretch is ``2 ** k`` lines of ``metrics.jsonl``, counted from its start. Each metric has the smallest ``k`` at which
no more than so many stretches hold a value of it; in each, the first row with its least and the first with its greatest
value are kept, and those with its first and its last value of all. Stretches of a larger ``k`` consist of whole ones of
a smaller, so what is kept is the same whether the file was read at once or as it grew, and how much that is does not
depend on how much was logged. A metric with fewer values than stretches keeps all of them.

A run that finishes writes these columns to ``curves.npz`` beside its log. They are read in its place as long as the log
is as it was then.
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
"""Name of the file, beside a finished run's log, that holds what is kept of the log."""
FORMAT = 1
"""Grows whenever something else is kept of the same log."""
ROWS = 4000
"""Rows that are kept, about; each metric has an equal share, of which half are least and half greatest values."""
FEWEST = 16
"""Stretches that a metric has, however many metrics there are."""
MEASURED = ("time/seconds", "time/joules")
"""Columns that are axes rather than metrics: a row of validation repeats those of training at the same step."""

MISSING = "is missing"

_END = 256
"""Bytes before the place where reading stopped, by which a file that goes on is told from another one."""
_BLOCK = 1 << 25
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Marks:
    """What was wrong with rows, so far.

    Attributes:
        broken, first_broken: lines that are no rows, and the number of the first, from 1.
        repeated, first_repeated: rows that were left out because a metric was there for that step or a later one, and
            the step of the first.
        not_finite: see :class:`lmlab.runs.rows.Rows`.
    """

    broken: int = 0
    first_broken: int = 0
    repeated: int = 0
    first_repeated: int = 0
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """What is kept of the lines before a place in the file.

    Attributes:
        numbers, columns: see :class:`lmlab.runs.rows.Rows`.
        lines, size: how many lines and bytes have been read.
        end: the last bytes before that place.
    """

    numbers: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    columns: dict[str, Array] = field(default_factory=lambda: {name: np.zeros(0) for name in PLACES})
    lines: int = 0
    size: int = 0
    end: bytes = b""
    marks: Marks = field(default_factory=Marks)

    def extended(self, content: bytes) -> "Logged":
        """With the lines that follow, whole ones."""
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
        """Write all of it to ``path``, whole: an archive that numpy reads."""
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
        """Return what :meth:`write` wrote to ``path``; ``None``: it is missing, damaged or of another format."""
        try:
            with ZipFile(path) as archive:
                about, array = json.loads(archive.read("about.json")), archive.read("values.npy")
            if about["format"] != FORMAT:
                return None
            # The header of the array says what is known: numpy takes longer to read it than all the rest.
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
        except Exception:  # whatever is wrong with it: the log holds all of it and more
            return None

    def _marks(self, rows: Rows, repeated: Array) -> Marks:
        marks = self.marks
        if len(rows.broken):
            first = marks.first_broken or self.lines + rows.broken[0] + 1
            marks = replace(marks, broken=marks.broken + len(rows.broken), first_broken=first)
        if len(repeated):
            first = marks.first_repeated if marks.repeated else int(repeated[0])  # a step, maybe 0
            marks = replace(marks, repeated=marks.repeated + len(repeated), first_repeated=first)
        if rows.not_finite:
            found = dict(marks.not_finite)
            for name, (count, step) in rows.not_finite.items():
                before, first = found.get(name, (0, step))
                found[name] = (before + count, min(first, step))
            marks = replace(marks, not_finite=found)
        return marks


def _without_repetitions(columns: dict[str, Array]) -> tuple[np.ndarray, Array]:
    """Remove values of steps that are not beyond the last one of their metric, in place.

    Returns which rows are left, as a mask (those that lost nothing, or not all), and the steps of those that lost some.
    """
    steps = columns["step"]
    lost = np.zeros(len(steps), dtype=bool)
    remains = np.zeros(len(steps), dtype=bool)
    for name, values in columns.items():
        if name in PLACES or name in MEASURED:
            continue
        known = np.flatnonzero(~np.isnan(values))
        furthest = np.maximum.accumulate(steps[known])
        again = known[1:][steps[known][1:] <= furthest[:-1]]
        if len(again):
            values[again] = np.nan
            lost[again] = True
        remains |= ~np.isnan(values)
    return remains | ~lost, steps[lost]


def _kept(numbers: Numbers, columns: dict[str, Array]) -> np.ndarray:
    """Which rows are kept, as a mask."""
    kept = np.zeros(len(numbers), dtype=bool)
    metrics = [name for name in columns if name not in PLACES]
    most = max(FEWEST, ROWS // (2 * max(1, len(metrics))))
    kept[[0, -1] if len(kept) else []] = True
    for name in metrics:
        known = np.flatnonzero(~np.isnan(columns[name]))
        if not len(known):
            continue
        values, lines = columns[name][known], numbers[known]
        length = 0
        while len(starts := _starts(lines >> length)) > most:
            length += 1
        stretch = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(known)))
        for extreme in (np.minimum, np.maximum):
            at = np.flatnonzero(values == extreme.reduceat(values, starts)[stretch])
            kept[known[at[_starts(stretch[at])]]] = True
        kept[known[[0, -1]]] = True
    return kept


def _starts(ascending: np.ndarray) -> np.ndarray:
    """Where a new value begins in values that ascend."""
    begins = np.ones(len(ascending), dtype=bool)
    np.not_equal(ascending[1:], ascending[:-1], out=begins[1:])
    return begins.nonzero()[0]


class Log:
    """``metrics.jsonl`` of a run, read from where the last reading stopped; a file in its place is read from its start.

    Args:
        path: the file. Beside that of a finished run lies ``curves.npz``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logged = Logged()
        self.cut_short = False
        """The last line has no end: it is being written, or its writer was killed."""
        self.trouble: str | None = None
        """Reason why there is nothing to read."""
        self._state: tuple[int, int, int] | None = None
        """Inode, size and time of the file when it was read."""

    def read(self) -> bool:
        """Take in what has been logged since the last call; return whether anything is different now.

        A file that is missing or cannot be read is an empty one; :attr:`trouble` says so.
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
        """Read the log and write what is kept of it to ``curves.npz``: nothing is logged from now on."""
        if self.path.exists():
            self.read()
            self.logged.write(self.path.with_name(CURVES))

    def problems(self, growing: bool = False) -> list[str]:
        """Return what is wrong with the log, a line each.

        Args:
            growing: rows are still to come, so that it may be missing, and its last line may have no end yet.
        """
        marks, name = self.logged.marks, self.path.name
        lines = [f"{name} {self.trouble}"] if self.trouble and not (growing and self.trouble == MISSING) else []
        if marks.broken:
            lines.append(f"{name}: {marks.broken} lines are no rows and left out (first: line {marks.first_broken})")
        if self.cut_short and not growing:
            lines.append(f"{name}: the last line is cut short and left out")
        if marks.repeated:
            lines.append(
                f"{name}: {marks.repeated} rows are of steps that it had before (the first is step "
                f"{marks.first_repeated}); the earlier ones count"
            )
        for metric, (count, step) in marks.not_finite.items():
            lines.append(f"{metric} is not finite in {count} rows (the first is step {step})")
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
        """Return what a finished run kept of its log, unless the log has been written to since."""
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
