"""The base class of generators: sequences of symbols with the answers to be learned and scored."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from lmlab.data.dataset import NOT_SCORED, Dataset, Opening
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.data.tasks.generated import GeneratedTask
    from lmlab.data.tokenizers import Tokenizer


__all__ = ["NOT_SCORED", "Generator"]


class Generator(Dataset):
    """Draws sequences of any length; splits differ only in length and random draws.

    A new generated task is one file: a subclass with ``name``, ``vocabulary`` and the abstract methods below.

    Args:
        longer: length of sequences of the split ``longer``, as a multiple of that in training (length
            generalisation); ``None``: there is no such split.

    Attributes:
        name: its name in runs.
        vocabulary: number of symbols; they are 0 to vocabulary - 1.

    Raises:
        UserError: ``longer`` is below 2.
    """

    required = ("name", "vocabulary")
    name: str
    vocabulary: int

    def __init__(self, longer: int | None = 4) -> None:
        if longer is not None and longer < 2:
            raise UserError(f"data.longer={longer}: expected at least 2, or null for no longer sequences")
        self.longer = longer

    @abstractmethod
    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences: inputs [rows, length] int64, and targets of that shape, -1 where nothing is scored.

        ``targets[r, t]`` is the right prediction after reading ``inputs[r, : t + 1]``. An instance that is
        shorter than ``length`` is padded; padding is not scored. Every row has at least one scored position.
        """

    @abstractmethod
    def check(self, length: int) -> None:
        """Refuse a length that cannot hold an instance. Raises ``UserError`` naming ``batch.context``."""

    def judges(self, tokenizer: "Tokenizer", context: int) -> "list[Judge]":
        """Return new judges of a split; override it for metrics other than those of the answers' probabilities.

        Args:
            tokenizer: turns symbols into text.
            context: tokens in a sequence of training.
        """
        from lmlab.data.judges import AnswerLikelihood, Breakdown

        return [AnswerLikelihood(Breakdown(context, None))]

    def open(self, opening: Opening) -> "GeneratedTask":
        from lmlab.data.tasks.generated import GeneratedTask

        return GeneratedTask.of(self, opening)


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
