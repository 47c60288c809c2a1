"""Varied options and their joint values."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from lmlab.errors import UserError


@dataclass(frozen=True)
class Choices:
    """An option that varies among unordered values: ``a,b,c``, ``choice(a,b,c)`` or ``glob(*)``.

    Args:
        key: text before the ``=``.
        values: texts after it, as in overrides.
    """

    key: str
    values: tuple[str, ...]

    def at(self, share: float) -> str:
        """Return the value at a position in [0, 1), with equal parts for all values."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Range:
    """An option that varies among equally spaced numbers: ``range(start,stop,step)``, in ascending order."""

    key: str
    numbers: tuple[int | float, ...]
    values: tuple[str, ...]
    """The numbers as in overrides, in their original order."""

    def at(self, share: float) -> str:
        """Return the value at a position in [0, 1), with equal parts for all numbers."""
        return str(self.numbers[int(share * len(self.numbers))])


@dataclass(frozen=True)
class Interval:
    """An option that varies between two numbers: ``interval(low,high)``, also in ``int(...)`` or ``tag(log,...)``.

    Args:
        log: uniform on a logarithmic scale.
        whole: integers, both ends included.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> str:
        """Return the value at a position in [0, 1)."""
        margin = 0.5 if self.whole else 0.0  # half a step on either side, so that the ends are equally probable
        low, high = self.low - margin, self.high + margin
        value = math.exp(_between(math.log(low), math.log(high), share)) if self.log else _between(low, high, share)
        value = min(max(value, self.low), self.high)
        return str(math.floor(value + 0.5)) if self.whole else repr(value)


Varied = Choices | Range | Interval
Dimension = tuple[Varied, ...]
"""Options that vary together: one, or those paired by ``sweep.zip``."""


def rows_of(dimension: Sequence[Varied]) -> list[dict[str, str]]:
    """Return the joint values of options, one row each. Raises ``UserError`` for an interval."""
    for option in dimension:
        if isinstance(option, Interval):
            raise UserError(
                f"{option.key}: an interval has no list of values; give a list or a range, or let sweep=random or "
                "sweep=optuna draw from it"
            )
    lists = [option.values for option in dimension if not isinstance(option, Interval)]
    return [dict(zip((option.key for option in dimension), row, strict=True)) for row in zip(*lists, strict=True)]


def merged(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Merge rows of different options."""
    return {key: value for row in rows for key, value in row.items()}


def unique(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Drop repeated rows."""
    return list({tuple(row.items()): row for row in rows}.values())


def drawn(dimension: Dimension, seed: int, number: int) -> dict[str, str]:
    """Return the values of draw ``number``, which depend on the seed and the first option alone."""
    share = _share(seed, number, dimension[0])
    if len(dimension) == 1:
        return {dimension[0].key: dimension[0].at(share)}
    rows = rows_of(dimension)
    return rows[int(share * len(rows))]


def sampled(dimension: Dimension) -> list[dict[str, str]]:
    """Return representative rows; of one numeric option the ends, if values between valid ends are valid too."""
    if len(dimension) > 1:
        return rows_of(dimension)
    return [{dimension[0].key: value} for value in _sampled_values(dimension[0])]


def _sampled_values(option: Varied) -> Sequence[str]:
    if isinstance(option, Interval):
        return option.at(0.0), option.at(1 - 2**-53)
    try:
        numbers = {value: float(value) for value in option.values}
    except ValueError:
        return option.values
    whole, finite = (all(map(test, numbers.values())) for test in (float.is_integer, math.isfinite))
    if not finite or whole != (option.key == "seed"):
        return option.values  # for heads=2,3,4, 3 may not divide the width
    return tuple(dict.fromkeys((min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__))))


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _share(seed: int, number: int, option: Varied) -> float:
    """Return a number in [0, 1), independent for different seeds and options."""
    stream = f"{seed},{option.key}"
    if not isinstance(option, Interval):
        return balanced(stream, number, len(option.values))
    if option.whole and not option.log:
        return balanced(stream, number, int(option.high - option.low) + 1)
    return spread(stream, number)


_ORDERS = tuple(permutations(range(3)))
_LEVELS = 12
"""Number of nested levels of thirds; enough for half a million numbers without a repeated stratum."""

_MANY = 1000
"""Lists with more values than this are longer than any search, so values need not be drawn equally often."""


def spread(stream: str, number: int) -> float:
    """Return number ``number`` of a sequence in [0, 1) whose aligned blocks of 3^k numbers fill 3^k equal strata.

    Args:
        stream: name of the sequence; sequences with different names are independent.
    """
    share, width, path = 0.0, 1.0, ""
    for level in range(_LEVELS):
        block, place = divmod(number // 3**level, 3)
        # The three parts of a block of 3^(level + 1) numbers take the thirds of any stratum in a pseudorandom order.
        digit = _ORDERS[_hash(f"{stream},{level},{block},{path}") % 6][place]
        width /= 3
        share += digit * width
        path += str(digit)
    return share + width * (_hash(f"{stream},{number}") >> 11) / 2**53


def balanced(stream: str, number: int, values: int) -> float:
    """Return number ``number`` of a sequence in (0, 1) that falls on each of ``values`` equal parts equally often.

    Every ``values`` numbers fall on each part once, in an order that is as evenly spread as possible.
    """
    if values > _MANY:
        return spread(stream, number)
    block, place = divmod(number, values)
    shares = [spread(f"{stream},{block}", other) for other in range(values)]
    rank = sum(share < shares[place] for share in shares)
    return (rank + 0.5) / values


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
