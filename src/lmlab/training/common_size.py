"""One size for several models: whether all can have the one that was asked for, and which one all can have."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from lmlab.config import Config
from lmlab.errors import UserError
from lmlab.models.parameters import number_of_parameters, tolerance
from lmlab.training.sizing import SizeMissed, around, check_parameters, size_of, solve_width

_REACH = 4
"""Largest ratio between a proposed size and the requested one."""

_WIDTHS = 1000
_TRIED = 100


@dataclass(frozen=True)
class SizeRequest:
    """The size that a model is to have.

    Attributes:
        name: what messages call it.
        model: its section ``model``.
    """

    name: str
    model: Config
    vocabulary: int
    context: int

    @property
    def share(self) -> float:
        return tolerance(self.model.get("parameters_within"))

    def solved(self, size: int | None = None) -> Config:
        """Return the section with its width, for another size if one is given. Raises ``UserError``."""
        model = self.model if size is None else self.model | {"parameters": size}
        return solve_width(model, self.vocabulary, self.context)

    def can_have(self, size: int) -> bool:
        try:
            self.solved(size)
        except UserError:
            return False
        return True

    def stretches(self, low: float, high: float) -> list[tuple[float, float]]:
        """Return the sizes between two that some width meets within the tolerance, as stretches."""
        first, _ = around(int(low), self._size, 1, 0, 0)
        sizes = takewhile(lambda size: size <= high, map(self._size, range(first or 1, first + _WIDTHS)))
        return [(size / (1 + self.share), size / (1 - self.share)) for size in sizes if size >= low]

    def _size(self, width: int) -> int:
        return size_of(self.model | {"width": width}, self.vocabulary, self.context)


def check_sizes(models: Sequence[SizeRequest]) -> None:
    """Refuse sizes that not all models that ask for them can have, in one message for all of them.

    Raises:
        UserError: with what each can have, and the nearest size that all can have.
    """
    groups: dict[tuple[int, str], list[SizeRequest]] = {}
    for one in models:
        size = check_parameters(one.model)
        if size is not None:
            groups.setdefault((size, one.model["parameters_of"]), []).append(one)
    for (size, kind), group in groups.items():
        if (message := _missed(size, kind, _distinct(group))) is not None:
            raise UserError(message)


def _distinct(group: Sequence[SizeRequest]) -> list[SizeRequest]:
    """The first of those whose models are the same."""
    distinct: dict[str, SizeRequest] = {}
    for one in group:
        distinct.setdefault(json.dumps([one.model, one.vocabulary, one.context], sort_keys=True), one)
    return list(distinct.values())


def _missed(size: int, kind: str, group: Sequence[SizeRequest]) -> str | None:
    can, cannot = [], {}
    for one in group:
        try:
            solved = one.solved()
        except SizeMissed as error:
            cannot[one.name] = error.nearest
            continue
        can.append(f"{one.name} ({size_of(solved, one.vocabulary, one.context):,})")
    if not cannot:
        return None
    first = group[0].model
    nearest = [
        f"{name} ({' or '.join(f'{has:,} with width {width}' for width, has in sizes.items())})"
        for name, sizes in cannot.items()
    ]
    off = max(min(abs(has - size) for has in sizes.values()) / size for sizes in cannot.values())
    words = f"model.parameters={first['parameters']}: not within {group[0].share * 100:g} % for {', '.join(nearest)}"
    words += f"; within it for {', '.join(can)}" if can else ""
    words += f" ({kind})"
    common = _common(size, group, set(cannot))
    advice = [] if common is None else [f"model.parameters={_written(common)} is the nearest that fits all"]
    if (within := math.ceil(off * 100 + 1e-9) / 100) < 1:
        advice.append(f"model.parameters_within={within:g} accepts these")
    return f"{words}; {', or '.join(advice)}" if advice else words


def _common(size: int, group: Sequence[SizeRequest], cannot: set[str]) -> int | None:
    """Return the nearest size of three digits that every model can have; ``None``: there is none near."""
    low, high = size / _REACH, size * _REACH
    common: list[tuple[float, float]] = [(low, high)]
    for one in group:
        if one.name in cannot:
            own = one.stretches(low, high)
            common = [(max(a, c), min(b, d)) for a, b in common for c, d in own if max(a, c) <= min(b, d)]
    numbers = {number for stretch in common for number in _of_three_digits(stretch)}
    nearest = sorted(numbers, key=lambda number: abs(math.log(number / size)))
    return next((number for number in nearest[:_TRIED] if all(one.can_have(number) for one in group)), None)


def _of_three_digits(stretch: tuple[float, float]) -> list[int]:
    """The whole numbers of a stretch that have at most three digits before their zeros."""
    unit = max(1, 10 ** (math.floor(math.log10(stretch[0])) - 2))
    return [unit * k for k in range(math.ceil(stretch[0] / unit), math.floor(stretch[1] / unit) + 1)]


def _written(size: int) -> str:
    """A size as ``model.parameters`` takes it: 99.7k."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        text = f"{size / unit:g}{letter}"
        if size >= unit and number_of_parameters(text) == size:
            return text
    return str(size)
