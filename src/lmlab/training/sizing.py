"""Find the width that gives a model of any architecture a requested size (``model.parameters=10M``).

Also check that several models can have one requested size, and find the nearest size that all can have.

If constraints like the number of heads leave only widths that are too far apart, an inner width is changed as well.

Every candidate is built on the meta device, which takes milliseconds and no memory. The number of parameters grows with
the width, up to rounding inside layers, so a bisection finds the widths on either side of a size.
"""

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product, takewhile
from typing import Any, Self

from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, set_at
from lmlab.errors import UserError
from lmlab.models.parameters import TOLERANCE, number_of_parameters, parameter_counts, tolerance
from lmlab.models.sizes import without_memory

MULTIPLES = (128, 64, 32, 16, 8, 4, 2, 1)
"""Hardware works best with widths that are multiples of a large power of two, so those are preferred."""

KNOBS = ("ratio", "expansion")
"""Options of channels and mixers that set an inner width over the outer one."""

EVEN = 8
"""Inner widths are changed before widths that are not a multiple of this are tried."""

_ATTEMPTS = 32
"""Limit of consecutive widths that a constructor may refuse before the search ends."""


def check_parameters(model_node: Config) -> int | None:
    """Return the number of parameters that a section ``model`` requests; ``None``: it requests none.

    Raises:
        UserError: it is not a number of parameters, or there is no width to solve for.
    """
    text = model_node.get("parameters")
    if text is None:
        return None
    target = number_of_parameters(text)
    tolerance(model_node.get("parameters_within"))
    if "width" not in model_node:
        raise UserError(f"model.parameters={text}: this model has no model.width that could be solved for it")
    return target


def solve_width(model_node: Config, vocabulary: int, context: int) -> Config:
    """Return a section ``model`` with the ``width`` that gives it the requested number of ``parameters``.

    Among widths within 1 % of that size, multiples of the largest of ``MULTIPLES`` are preferred, and of them the
    nearest. Widths that a constructor refuses (for example because heads do not divide them) do not count. If no
    multiple of ``EVEN`` is near enough, the nearest one is taken and an inner width (``KNOBS``) changed by a third at
    most; ``solved_from`` records its old value. If no size is within 1 %, one within ``parameters_within`` is taken. A
    section without a requested size is returned unchanged.

    Raises:
        SizeMissed: no width is near enough.
        UserError: a constructor refuses them all.
    """
    target = check_parameters(model_node)
    if target is None:
        return model_node
    within = tolerance(model_node.get("parameters_within"))
    size = cache(lambda width: size_of(model_node | {"width": width}, vocabulary, context))
    if not _some_width(size):
        _build(model_node | {"parameters": None}, vocabulary, context)  # raises the reason
    for share in sorted({min(within, TOLERANCE), within}):
        low, high = 0, 0
        for multiple in MULTIPLES:
            low, high = around(target, size, multiple, low, high)
            near = sorted((width for width in (low, high) if width), key=lambda width: abs(size(width) - target))
            if near and abs(size(near[0]) - target) <= share * target:
                return model_node | {"width": near[0]}
            if multiple in (EVEN, 1):  # a slightly different inner width is better than a slow width
                for width, key, finely in product(near, _knobs(model_node), (False, True)):
                    changed = _turned(model_node | {"width": width}, key, finely, target, share, vocabulary, context)
                    if changed is not None:
                        return changed
    raise SizeMissed(model_node, {width: size(width) for width in (low, high) if width})


class SizeMissed(UserError):
    """No width gives a section ``model`` the requested size.

    Attributes:
        nearest: the nearest possible sizes on either side, by width.
    """

    def __init__(self, model_node: Config, nearest: dict[int, int]) -> None:
        self.nearest = nearest
        share = tolerance(model_node.get("parameters_within"))
        sizes = " and ".join(f"width {width} has {size:,}" for width, size in nearest.items())
        super().__init__(
            f"model.parameters={model_node['parameters']}: no width is within {share * 100:g} %; the nearest: {sizes} "
            f"({model_node['parameters_of']})"
        )


def _knobs(model_node: Config) -> list[str]:
    """Return the dotted options that set inner widths: first of channels, then of mixers."""
    sections = [model_node, *(model_node.get(group) or {} for group in ("channels", "mixers"))]
    prefixes = ("", "channels.", "mixers.")
    return [
        f"{prefix}{name}.{knob}"
        for prefix, section in zip(prefixes, sections, strict=True)
        for name in (("channel", "mixer") if section is model_node else section)
        for knob in KNOBS
        if isinstance((section.get(name) or {}).get(knob), float)
    ]


def _turned(
    model_node: Config, key: str, finely: bool, target: int, share: float, vocabulary: int, context: int
) -> Config | None:
    """Return the section with ``key`` changed by at most a third so that its size fits; ``None``: impossible.

    Args:
        finely: do not round the inner width to the part's multiple.
        share: largest relative deviation of the size.
    """
    path, _, knob = key.rpartition(".")
    part = reduce(lambda section, parent: section[parent], path.split("."), model_node)
    if finely and part.get("multiple", 1) == 1:
        return None
    original = {key: part[knob]} | ({f"{path}.multiple": part["multiple"]} if finely else {})

    def at(inner: int) -> Config:
        changed = copy.deepcopy(model_node)
        set_at(changed, key, round(inner / model_node["width"], 6))
        if finely:
            set_at(changed, f"{path}.multiple", 1)
        return changed | {"solved_from": original}

    usual = part[knob] * model_node["width"]
    size = cache(lambda inner: size_of(at(inner), vocabulary, context) if usual / 1.5 < inner < usual * 1.5 else 0)
    least = next((inner for inner in range(int(usual / 1.5), int(usual * 1.5)) if size(inner)), 0)
    if not least or size(least) > target * (1 + share):
        return None
    low, high = around(target, size, 1, least, 0)
    nearest = min((inner for inner in (low, high) if inner), key=lambda inner: abs(size(inner) - target))
    return at(nearest) if abs(size(nearest) - target) <= share * target else None


def size_of(model_node: Config, vocabulary: int, context: int) -> int:
    """Return the counted parameters of a section ``model``; 0 if a constructor refuses it."""
    try:
        model = _build(model_node | {"parameters": None}, vocabulary, context)
    except Exception:
        return 0
    return parameter_counts(model)[model_node["parameters_of"]]


def fits(model_node: Config, vocabulary: int, context: int) -> bool:
    """Return whether a section ``model`` has its requested size with its current width."""
    target = number_of_parameters(model_node["parameters"])
    return (
        abs(size_of(model_node, vocabulary, context) - target)
        <= tolerance(model_node.get("parameters_within")) * target
    )


def without_size(model_node: Config, vocabulary: int, context: int) -> Config:
    """Return a section ``model`` without its requested size, for a build without the vocabulary.

    A section with a requested size gets a width that constructors accept, because its own will be replaced.

    Raises:
        UserError: the requested size is invalid, or there is no width to solve for.
    """
    if check_parameters(model_node) is None:
        return model_node
    width = _some_width(lambda width: size_of(model_node | {"width": width}, vocabulary, context))
    return model_node | {"parameters": None, "width": width or model_node["width"]}


def _some_width(size: Callable[[int], int]) -> int:
    """Return a width that is accepted; 0 if none of many candidates is."""
    tried = (*range(MULTIPLES[0], MULTIPLES[0] * (_ATTEMPTS + 1), MULTIPLES[0]), *range(1, _ATTEMPTS + 1))
    return next((width for width in tried if size(width)), 0)


def _build(model_node: Config, vocabulary: int, context: int) -> Any:
    with without_memory():
        return build(model_node, vocabulary=vocabulary, context=context)


def around(target: int, size: Callable[[int], int], multiple: int, low: int, high: int) -> tuple[int, int]:
    """Return the multiples of ``multiple`` that give the largest size below ``target`` and the smallest not below it.

    Args:
        low: a width whose size is below ``target``; 0: unknown.
        high: a width whose size is not below ``target``; 0: unknown.

    Returns:
        Both widths; 0 for one that does not exist.
    """

    def accepted(widths: Iterable[int]) -> int:
        return next((width for width in widths if size(width)), 0)

    reach = low // multiple * multiple + multiple
    while not high:
        width = accepted(range(reach, reach + multiple * _ATTEMPTS, multiple))
        if not width:
            break
        if size(width) >= target:
            high = width
        else:
            low, reach = width, 2 * width // multiple * multiple
    while high:
        middle = (low + high) // (2 * multiple) * multiple
        if middle <= low:
            break
        width = accepted(range(middle, high, multiple)) or accepted(range(middle, low, -multiple))
        if not width:
            break
        low, high = (width, high) if size(width) < target else (low, width)
    return low, high


_REACH = 4
"""Largest ratio between a proposed size and the requested one."""

_WIDTHS = 1000
_TRIED = 100


@dataclass(frozen=True)
class SizeRequest:
    """A model with its requested size.

    Attributes:
        name: its name in messages.
        model: its section ``model``.
    """

    name: str
    model: Config
    vocabulary: int
    context: int

    @classmethod
    def of(cls, name: str, experiment: Experiment, vocabulary: int) -> Self:
        """Return the request of a configuration for a number of tokens."""
        return cls(name, experiment.model, vocabulary, experiment.batch.context)

    @property
    def share(self) -> float:
        return tolerance(self.model.get("parameters_within"))

    def solved(self, size: int | None = None) -> Config:
        """Return the section with its solved width, for another ``size`` if given. Raises ``UserError``."""
        model = self.model if size is None else self.model | {"parameters": size}
        return solve_width(model, self.vocabulary, self.context)

    def can_have(self, size: int) -> bool:
        try:
            self.solved(size)
        except UserError:
            return False
        return True

    def stretches(self, low: float, high: float) -> list[tuple[float, float]]:
        """Return the intervals of sizes between two limits that some width meets within the tolerance."""
        first, _ = around(int(low), self._size, 1, 0, 0)
        sizes = takewhile(lambda size: size <= high, map(self._size, range(first or 1, first + _WIDTHS)))
        return [(size / (1 + self.share), size / (1 - self.share)) for size in sizes if size >= low]

    def _size(self, width: int) -> int:
        return size_of(self.model | {"width": width}, self.vocabulary, self.context)


def check_sizes(models: Sequence[SizeRequest]) -> None:
    """Refuse requested sizes that some models cannot have, in one message for all of them.

    Raises:
        UserError: it names the sizes that each can have, and the nearest size that all can have.
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
    """Return the requests without repeated models."""
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
    """Return the nearest size of three digits that every model can have; ``None``: no near size."""
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
    """Return the integers of an interval with at most three significant digits."""
    unit = max(1, 10 ** (math.floor(math.log10(stretch[0])) - 2))
    return [unit * k for k in range(math.ceil(stretch[0] / unit), math.floor(stretch[1] / unit) + 1)]


def _written(size: int) -> str:
    """Format a size for ``model.parameters``: 99.7k."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        text = f"{size / unit:g}{letter}"
        if size >= unit and number_of_parameters(text) == size:
            return text
    return str(size)
