"""Random draws and argument checks for several tasks."""

import numpy as np

from lmlab.errors import UserError


def require(length: int, least: int, what: str) -> None:
    """Refuse a length below ``least``. Raises ``UserError``; ``what`` names the content that does not fit."""
    if length < least:
        raise UserError(f"batch.context={length}: expected at least {least}, for {what}")


def at_least(option: str, value: int, least: int, why: str) -> None:
    """Refuse an option's value below ``least``. Raises ``UserError``."""
    if value < least:
        raise UserError(f"data.{option}={value}: expected at least {least}: {why}")


def distinct(random: np.random.Generator, among: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers below ``among``, [*shape] int64, that differ along the last axis; every order is equally likely.

    Floyd's algorithm (Bentley and Floyd 1987) for all rows at a time: its cost does not depend on ``among``.
    """
    *rows, size = shape
    count = int(np.prod(rows))
    drawn, each = np.empty((size, count), np.int64), np.arange(count)
    for place, largest in enumerate(range(among - size, among)):
        number = random.integers(0, largest + 1, count)
        number[(drawn[:place] == number).any(0)] = largest
        # Change places with one before or stay: a shuffle from the inside out (Durstenfeld 1964).
        other = random.integers(0, place + 1, count)
        drawn[place] = drawn[other, each]
        drawn[other, each] = number
    return drawn.T.reshape(shape)


def first_occurrences(values: np.ndarray) -> np.ndarray:
    """Return for each place of each row, [rows, N], the place of the first occurrence of its value in that row."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, 1)
    begins = np.ones_like(ordered, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.maximum.accumulate(np.where(begins, np.arange(values.shape[1]), 0), axis=1)
    first = np.empty_like(order)
    np.put_along_axis(first, order, np.take_along_axis(order, group, 1), 1)
    return first
