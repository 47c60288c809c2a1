"""Parse rows of ``metrics.jsonl``, many at once, into columns of numbers, and collect invalid rows."""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import orjson

from lmlab.runs.files import NOT_FINITE

Array = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

PLACES = ("step", "tokens")
"""Columns that every row has."""


@dataclass(frozen=True)
class Rows:
    """Rows as columns.

    Attributes:
        numbers: line number of each row, from 0, ascending; [N].
        columns: by name, [N]; nan in rows without that column.
        broken: numbers of invalid lines: not JSON, not only numbers, or without a step or tokens.
        not_finite: for each metric with values that are nan or infinite: their number and the least step.
    """

    numbers: Numbers
    columns: dict[str, Array]
    broken: Sequence[int] = ()
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    """Rows with the same names in the same order: ``values`` is [R, N], one row each."""

    names: tuple[str, ...]
    numbers: list[int]
    values: Array


def parse(content: bytes) -> Rows:
    """Parse complete lines."""
    rows = _decoded(content)
    kinds = _kinds(rows)
    good = np.array(sorted(number for kind in kinds for number in kind.numbers), dtype=np.int64)
    names = dict.fromkeys([*PLACES, *(name for kind in kinds for name in kind.names)])
    columns = {name: np.full(len(good), np.nan) for name in names}
    not_finite: dict[str, tuple[int, int]] = {}
    for kind in kinds:
        at = np.searchsorted(good, kind.numbers)
        steps = kind.values[:, kind.names.index("step")].astype(np.int64)
        for name, values in zip(kind.names, kind.values.T, strict=True):
            columns[name][at] = values
            wrong = steps[~np.isfinite(values)]
            if len(wrong):
                count, first = not_finite.get(name, (0, int(wrong.min())))
                not_finite[name] = (count + len(wrong), min(first, int(wrong.min())))
    broken = sorted({*range(len(rows))} - {*good.tolist()}) if len(good) < len(rows) else []
    return Rows(good, columns, broken, not_finite)


def _decoded(content: bytes) -> list[Any]:
    """Return the content of each line; ``None`` for lines that are not JSON."""
    try:
        rows = orjson.loads(b"[" + content[:-1].replace(b"\n", b",") + b"]")
        if len(rows) == content.count(b"\n"):
            return list(rows)
    except ValueError:
        pass
    return [_one(line) for line in content.split(b"\n")[:-1]]


def _one(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        pass
    try:
        return json.loads(line)  # accepts NaN and Infinity as numbers, which earlier versions wrote
    except (ValueError, RecursionError):
        return None


def _kinds(rows: Sequence[Any]) -> list[_Kind]:
    """Group valid rows by their names."""
    by_names: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            by_names.setdefault(tuple(row), []).append(number)
    kinds = []
    for names, numbers in by_names.items():
        if not {*PLACES} <= {*names}:
            continue
        try:
            values = array("d", [*chain.from_iterable(rows[number].values() for number in numbers)])
        except (TypeError, OverflowError):
            numbers = [number for number in numbers if _is_of_numbers(rows[number])]
            flat = [_number(value) for number in numbers for value in rows[number].values()]
            values = array("d", flat)
        values_RN = np.frombuffer(values).reshape(len(numbers), len(names)) if numbers else np.zeros((0, len(names)))
        placed = np.isfinite(values_RN[:, [names.index(name) for name in PLACES]]).all(1)
        if not placed.all():
            numbers, values_RN = np.array(numbers)[placed].tolist(), values_RN[placed]
        kinds.append(_Kind(names, numbers, values_RN))
    return kinds


def _is_of_numbers(row: dict[str, Any]) -> bool:
    """Return whether every value is null or a number in the range of floats."""
    return all(
        v is None or isinstance(v, float) or (isinstance(v, int) and abs(v) < 2**1023) or _is_not_finite(v)
        for v in row.values()
    )


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, str) and value in NOT_FINITE


def _number(value: Any) -> float:
    return np.nan if value is None else NOT_FINITE[value] if isinstance(value, str) else value
