"""Measurements and counts as text."""

import re

WIDEST = 12
"""Characters of a number with decimals; one that takes more is shown in scientific notation."""


def written(value: float, form: str) -> str:
    """Return ``form.format(value)``, or ``5.00e+29`` where ``form`` has decimals and the text would be too wide."""
    text = form.format(value)
    if len(text) <= WIDEST or not re.search(r"\.[1-9]\d*[f%]", form):
        return text
    return f"{100 * value:.2e}%" if "%" in form else f"{value:.2e}"


def counted(number: int, noun: str) -> str:
    """Return ``1 seed`` or ``1,200 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
