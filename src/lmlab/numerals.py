"""Measurements as text of a sensible width."""

import re

WIDEST = 12
"""Characters of a number with decimals; one that takes more is shown in scientific notation."""


def written(value: float, form: str) -> str:
    """Return ``form.format(value)``, or ``5.00e+29`` where ``form`` has decimals and the text would be too wide."""
    text = form.format(value)
    if len(text) <= WIDEST or not re.search(r"\.[1-9]\d*[f%]", form):
        return text
    return f"{100 * value:.2e}%" if "%" in form else f"{value:.2e}"
