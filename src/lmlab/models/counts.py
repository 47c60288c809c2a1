"""Limits on the number of modules and the width of a layer, and the divisors of a width."""

import math

from lmlab.errors import UserError

MOST = 10_000
"""Modules of one kind; each takes time and memory to build, also where its parameters take none."""

WIDEST = 2**24
"""Numbers that a layer takes or gives for one token."""


def check_count(option: str, value: int) -> None:
    """Refuse a number of modules above ``MOST``. Raises ``UserError``."""
    if value > MOST:
        raise UserError(f"{option}={value}: expected at most {MOST}")


def check_width(option: str, value: int) -> None:
    """Refuse a layer wider than ``WIDEST``. Raises ``UserError``."""
    if value > WIDEST:
        raise UserError(f"{option}={value}: expected at most {WIDEST}")


def divisors(number: int) -> list[int]:
    """Return the whole numbers that divide ``number``, in order; none for a number below 1."""
    low = [count for count in range(1, math.isqrt(max(0, number)) + 1) if number % count == 0]
    return low + [number // count for count in reversed(low) if count * count != number]
