"""What a run has logged, as far as it has been read: columns that keep every extreme and never grow beyond a size.

A stretch is ``2 ** k`` lines of ``metrics.jsonl``, counted from its start. Each metric has the smallest ``k`` at which
no more than so many stretches hold a value of it; in each, the first row with its least and the first with its greatest
value are kept, and those with its first and its last value of all. Stretches of a larger ``k`` consist of whole ones of
a smaller, so what is kept is the same whether the file was read at once or as it grew, and how much that is does not
depend on how much was logged. A metric with fewer values than stretches keeps all of them.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from lmlab.analysis.rows import PLACES, Array, Numbers, Rows, parse

FORMAT = 1
"""Grows whenever something else is kept of the same file."""
ROWS = 4000
"""Rows that are kept, about; each metric has an equal share, of which half are least and half greatest values."""
FEWEST = 16
"""Stretches that a metric has, however many metrics there are."""
MEASURED = ("time/seconds", "time/joules")
"""Columns that are axes rather than metrics: a row of validation repeats those of training at the same step."""

_END = 256
"""Bytes before the place where reading stopped, by which a file that goes on is told from another one."""


@dataclass(frozen=True)
class Marks:
    """What was wrong with rows, so far.

    Attributes:
        broken, first_broken: lines that are no rows, and the number of the first, from 1.
        repeated, first_repeated: rows that were left out because a metric was there for that step or a later one, and
            the step of the first.
        not_finite: see :class:`lmlab.analysis.rows.Rows`.
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
        numbers, columns: see :class:`lmlab.analysis.rows.Rows`.
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
