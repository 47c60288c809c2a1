"""Cells of tables: their text, order and comparison; and texts written by runs, made safe to show anywhere.

Such a text has no invisible characters and a bounded length.
"""

import math
import re

from lmlab import numerals
from lmlab.analysis.report.document import Cell, Column, Interval, Table

SHOWN = 2_000  # characters of a long text that are shown at first: about a page
COPIED = 20_000  # characters of a command, which must be copied whole

# Control characters other than tab and newline, halves of surrogate pairs, and the marks that change the direction of
# text: with those, a sample could make a report read differently from its content.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return the text with every invisible character replaced by a control picture or its code point."""
    return _INVISIBLE.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clipped(text: str, length: int = SHOWN) -> tuple[str, str]:
    """Return ``visible(text)`` in two parts: the one shown at first, and the rest, which is usually empty."""
    text = visible(text)
    return (text, "") if len(text) <= length * 1.1 else (text[:length], text[length:])


ABSENT = "–"


def written(cell: Cell | Interval, column: Column) -> str:
    """Return a cell as text, in the form of its column: ``1.234 [1.201, 1.267]``, ``NaN``, ``−∞``, or a dash for none.

    A column without its own form shows four significant digits of numbers that are not integers.
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
    """Return the number by which a cell is sorted; ``None`` for a text, an empty cell and nan."""
    value = cell.value if isinstance(cell, Interval) else cell
    return None if value is None or isinstance(value, str) or math.isnan(value) else float(value)


def numeric(table: Table) -> list[bool]:
    """Return for each column whether it holds only numbers and empty cells."""
    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(cells) and not any(isinstance(cell, str) for cell in cells) for cells in columns]
