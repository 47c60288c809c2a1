"""Cells of tables: how they are written, sorted and compared."""

import math

from lmlab import numerals
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
    return numerals.written(value, form).replace("-", "−")


def number(cell: Cell | Interval) -> float | None:
    """What a cell is sorted by; ``None`` for a text, for nothing, and for what is not a number."""
    value = cell.value if isinstance(cell, Interval) else cell
    return None if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def numeric(table: Table) -> list[bool]:
    """Of each column, whether it holds numbers and nothing else but gaps."""
    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(cells) and not any(isinstance(cell, str) for cell in cells) for cells in columns]
