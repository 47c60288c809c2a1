"""Cells of tables: how they are written, sorted and compared; and texts that runs have written, safe to show anywhere.

Nothing in such a text is invisible, and none is endless.
"""

import math
import re

from lmlab import numerals
from lmlab.analysis.report.document import Cell, Column, Interval, Table

SHOWN = 2_000  # characters of a long text that are shown at once: about a page
COPIED = 20_000  # of a command, which has to be copied whole

# Control characters other than tab and newline, halves of surrogate pairs, and the marks that change the direction of
# what follows them: with those, a sample could make a report read differently from what it says.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every invisible character written out: the picture of a control character, or its code point."""
    return _INVISIBLE.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def clipped(text: str, length: int = SHOWN) -> tuple[str, str]:
    """``visible(text)``, cut into what is shown at once and the rest, which is empty for most."""
    text = visible(text)
    return (text, "") if len(text) <= length * 1.1 else (text[:length], text[length:])


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
