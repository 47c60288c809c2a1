"""Options to vary, and the values that they have together."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from lmlab.errors import UserError


@dataclass(frozen=True)
class Choices:
    """An option to vary among values without an order: ``a,b,c``, ``choice(a,b,c)`` or ``glob(*)``.

    Args:
        key: what stands before the ``=``.
        values: what may stand behind it, as an override says it.
    """

    key: str
    values: tuple[str, ...]

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True)
class Range:
    """An option to vary among numbers equally far apart: ``range(start,stop,step)``, in rising order."""

    key: str
    numbers: tuple[int | float, ...]
    values: tuple[str, ...]
    """The numbers as overrides say them, in the order in which they were asked for."""

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        return str(self.numbers[int(share * len(self.numbers))])


@dataclass(frozen=True)
class Interval:
    """An option to vary between two numbers: ``interval(low,high)``, also in ``int(...)`` or ``tag(log,...)``.

    Args:
        log: equally probable are equal ratios rather than equal differences.
        whole: whole numbers, both ends included.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> str:
        """Return the value that a share of the whole in [0, 1) falls on."""
        margin = 0.5 if self.whole else 0.0  # half a number on either side, so that the ends are as probable
        low, high = self.low - margin, self.high + margin
        value = math.exp(_between(math.log(low), math.log(high), share)) if self.log else _between(low, high, share)
        value = min(max(value, self.low), self.high)
        return str(math.floor(value + 0.5)) if self.whole else repr(value)


Varied = Choices | Range | Interval
Dimension = tuple[Varied, ...]
"""Options that vary together: one, or those that ``sweep.zip`` pairs."""


def rows_of(dimension: Sequence[Varied]) -> list[dict[str, str]]:
    """The values that options have together, one row after another. Raises ``UserError`` for an interval."""
    for option in dimension:
        if isinstance(option, Interval):
            raise UserError(
                f"{option.key}: an interval has no list of values; give a list or a range, or let sweep=random or "
                "sweep=optuna draw from it"
            )
    lists = [option.values for option in dimension if not isinstance(option, Interval)]
    return [dict(zip((option.key for option in dimension), row, strict=True)) for row in zip(*lists, strict=True)]


def merged(rows: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Join rows of different options."""
    return {key: value for row in rows for key, value in row.items()}


def unique(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Drop repeated rows."""
    return list({tuple(row.items()): row for row in rows}.values())


def drawn(dimension: Dimension, seed: int, number: int) -> dict[str, str]:
    """The values of draw ``number``, which depend on the seed and the first option alone."""
    share = _share(seed, number, dimension[0])
    if len(dimension) == 1:
        return {dimension[0].key: dimension[0].at(share)}
    rows = rows_of(dimension)
    return rows[int(share * len(rows))]


def sampled(dimension: Dimension) -> list[dict[str, str]]:
    """Rows that stand for all: of one option, the ends where whatever lies between two good numbers is good too."""
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
        return option.values  # heads=2,3,4: 3 may not divide the width
    return tuple(dict.fromkeys((min(numbers, key=numbers.__getitem__), max(numbers, key=numbers.__getitem__))))


def _between(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _share(seed: int, number: int, option: Varied) -> float:
    """A number in [0, 1), unrelated for two seeds and for two options."""
    stream = f"{seed},{option.key}"
    if not isinstance(option, Interval):
        return balanced(stream, number, len(option.values))
    if option.whole and not option.log:
        return balanced(stream, number, int(option.high - option.low) + 1)
    return spread(stream, number)


_ORDERS = tuple(permutations(range(3)))
_LEVELS = 12
"""Of so many nested thirds each is hit before any other is hit twice: half a million numbers."""

_MANY = 1000
"""A list of more values than this is longer than any search: its values need not be drawn equally often."""


def spread(stream: str, number: int) -> float:
    """Return number ``number`` of a sequence in [0, 1), of which every 3^k from a multiple of 3^k on fill 3^k strata.

    Args:
        stream: names the sequence; those of two names are unrelated.
    """
    share, width, path = 0.0, 1.0, ""
    for level in range(_LEVELS):
        block, place = divmod(number // 3**level, 3)
        # The three parts of a block of 3^(level + 1) numbers take the thirds of any one stratum in some order.
        digit = _ORDERS[_hash(f"{stream},{level},{block},{path}") % 6][place]
        width /= 3
        share += digit * width
        path += str(digit)
    return share + width * (_hash(f"{stream},{number}") >> 11) / 2**53


def balanced(stream: str, number: int, values: int) -> float:
    """Return number ``number`` of a sequence in (0, 1) that falls on each of ``values`` equal parts equally often.

    Every ``values`` numbers fall on each part once, in an order that is spread as well as can be.
    """
    if values > _MANY:
        return spread(stream, number)
    block, place = divmod(number, values)
    shares = [spread(f"{stream},{block}", other) for other in range(values)]
    rank = sum(share < shares[place] for share in shares)
    return (rank + 0.5) / values


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
