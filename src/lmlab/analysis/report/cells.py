"""Cells of tables: how they are written, sorted and compared."""

import math

from lmlab.analysis.report.document import Cell, Column, Interval, Table

ABSENT = "–"


def written(cell: Cell | Interval, column: Column) -> str:
    """A cell as text, in the form of its column: ``1.234 [1.201, 1.267]``, ``NaN``, ``−∞``, or a dash for none.

    A column without a form of its own shows four significant digits of what is not an integer.
    """
    if cell is None:
        return ABSENT
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if not isinstance(cell, Interval):
        return _number(cell, column)
    if math.isnan(cell.low) or math.isnan(cell.high):
        return f"{_number(cell.value, column)} [{ABSENT}]"
    return f"{_number(cell.value, column)} [{_number(cell.low, column)}, {_number(cell.high, column)}]"


def _number(value: float, column: Column) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    form = "{:.4g}" if column.form == "{}" and isinstance(value, float) else column.form
    return form.format(value).replace("-", "−")


def number(cell: Cell | Interval) -> float | None:
    """What a cell is sorted by; ``None`` for a text, for nothing, and for what is not a number."""
    value = cell.value if isinstance(cell, Interval) else cell
    return None if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def numeric(table: Table, column: int) -> bool:
    """Whether a column holds numbers and nothing else but gaps."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def best(table: Table, column: int) -> set[int]:
    """The rows of a column of intervals that may be the best: those whose interval overlaps that of the best value.

    Empty where the column does not say which side is better, and where a number has no interval: a best single run is
    not a finding.
    """
    better = table.columns[column].better
    cells = {i: cell for i, row in enumerate(table.rows) if isinstance(cell := row[column], Interval)}
    cells = {i: cell for i, cell in cells.items() if not math.isnan(cell.value + cell.low + cell.high)}
    if better is None or len(cells) < 2:
        return set()
    choose = min if better == "lower" else max
    first = choose(cells.values(), key=lambda cell: cell.value)
    return {i for i, cell in cells.items() if cell.low <= first.high and cell.high >= first.low}
