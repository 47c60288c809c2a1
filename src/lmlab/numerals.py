"""Measurements and counts as text."""

import re

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
