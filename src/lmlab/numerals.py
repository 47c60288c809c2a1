"""Measurements and counts as text."""

import re
from datetime import timedelta

from lmlab.errors import UserError

WIDEST = 12
"""The most characters of a number with decimals; longer ones are shown in scientific notation."""


def written(value: float, form: str) -> str:
    """Return ``form.format(value)``, or ``5.00e+29`` where ``form`` has decimals and the text would be too wide."""
    text = form.format(value)
    if len(text) <= WIDEST or not re.search(r"\.[1-9]\d*[f%]", form):
        return text
    return f"{100 * value:.2e}%" if "%" in form else f"{value:.2e}"


def counted(number: int, noun: str) -> str:
    """Return ``1 seed`` or ``1,200 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_number(value: object) -> bool:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compact(number: float | None) -> str:
    """Return a number with three digits and k, M, G or T: 1,052,672 is 1.05M; nothing for ``None``."""
    if number is None:
        return ""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(float(f"{number:.3g}")) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def byte_size(size: int) -> str:
    """Return a number of bytes with three digits: 800 B, 1.56 KiB, 96.2 MiB."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1000 * 1024 ** (power - 1):
            return f"{size / 1024**power:.3g} {unit}"
    return f"{size} B"


def duration(seconds: float) -> str:
    """Return a time with three digits: 1.2 ms, 35 s, 4.1 h, 3.2 days."""
    for size, unit in ((86400 * 2, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / (86400 if unit == 'days' else size):.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def time_left(seconds: float) -> str:
    """Return a remaining time to the second: 0:01:05, ``2 days, 3:00:00``."""
    return str(timedelta(seconds=round(seconds)))


_UNITS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}


def amount(text: str) -> int | None:
    """Return the number in a text such as 10M, 1.5B, 300k or 300_000; ``None`` if the text is no number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", text.replace("_", "").lower())
    return round(float(match[1]) * _UNITS[match[2]]) if match else None


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds in a unit of time."""


def seconds(option: str, text: str) -> float:
    """Return the seconds in a text such as ``7d`` or ``1.5h``. Raises ``UserError`` if it is no duration."""
    match = re.fullmatch(r"(\d+\.?\d*) ?([smhdw])", text)
    if match is None:
        raise UserError(f"{option}={text}: expected a number with a unit, as in 30m, 12h, 7d or 2w")
    return float(match[1]) * SECONDS[match[2]]
