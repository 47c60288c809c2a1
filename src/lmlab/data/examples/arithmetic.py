"""Arithmetic and strings: generated questions whose answers can be verified exactly."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lmlab.data.examples.examples import Examples
from lmlab.data.examples.template import Example
from lmlab.errors import UserError, nearest

if TYPE_CHECKING:
    from lmlab.data.judges.answers import AnswerMetric, TextsMetric

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HELD_OUT = {"validation": (0.0, 0.1), "test": (0.1, 0.2), "train": (0.2, 1.0)}
"""Shares of all questions that belong to a split, by their hash."""
_TRIES = 20
"""Draws for each question that is sought, before there are taken to be no more."""


def verify(example: Example, answer: str) -> bool:
    """Return whether ``answer`` is right: equal to a reference but for white space at its ends and between words."""
    return " ".join(answer.split()) in example.references


class Arithmetic(Examples):
    """Questions by number of digits, with one right answer.

    - ``addition``, ``multiplication``: of two numbers of ``n`` digits each, ``12 + 34`` and ``12 * 34``;
    - ``sorting``: ``n`` numbers below 100 in ascending order, ``sort 31 4 15``;
    - ``spelling``: the ``n`` letters of a made-up word, ``spell qat``.

    ``n`` is drawn from 1 to ``digits``, in the split ``longer`` from ``digits + 1`` to ``longer``. The hash of a
    question decides to which of the other splits it belongs, so that none has a question of another. The splits are the
    same in all runs. The fields are ``question``, ``answer`` and ``digits``.

    Args:
        template, length, loss, decoding: see :class:`Examples`.
        operations: one or several of those above.
        digits: the largest n of the splits ``train``, ``validation`` and ``test``.
        longer: the largest n of the split ``longer``; ``None``: there is no such split.
        examples: number of questions to train on; fewer if there are no more.
        scored: number of questions of every other split; fewer if there are no more.
        draw: seed of the draws.

    Raises:
        UserError: an option has a value that it cannot have, or a split has no question.
    """

    name = "arithmetic"
    licence = "none: drawn by lmlab"

    def __init__(
        self,
        template: Mapping[str, Any],
        operations: str | list[str] = "addition",
        digits: int = 3,
        longer: int | None = 5,
        examples: int = 20_000,
        scored: int = 500,
        draw: int = 12345,
        length: int = 32,
        loss: Literal["answer", "all"] = "answer",
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(template, [], length, loss, decoding)
        self.operations = [operations] if isinstance(operations, str) else list(operations)
        for operation in self.operations:
            if operation not in _OPERATIONS:
                raise UserError(f"data.operations={operation}: no such operation{nearest(operation, _OPERATIONS)}")
        for option, value in (("digits", digits), ("examples", examples), ("scored", scored)):
            if value < 1:
                raise UserError(f"data.{option}={value}: expected at least 1")
        if draw < 0:
            raise UserError(f"data.draw={draw}: expected at least 0")
        if longer is not None and longer <= digits:
            raise UserError(
                f"data.longer={longer}: expected more than data.digits={digits}, or null for no split of longer ones"
            )
        if not self.operations:
            raise UserError("data.operations=[]: expected at least one operation")
        self.digits = digits
        self.longer = longer
        self.draw = draw
        self.sizes = {"train": examples, "validation": scored, "test": scored}
        if longer is not None:
            self.sizes["longer"] = scored
            self.scored_splits = ("validation", "longer")
        self.splits = tuple(self.sizes)

    def records(self, split: str) -> Iterator[dict[str, Any]]:
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.draw, self.splits.index(split)))))
        least, most = (self.digits + 1, self.longer) if split == "longer" and self.longer else (1, self.digits)
        seen: set[str] = set()
        for _ in range(_TRIES * self.sizes[split]):
            operation = self.operations[int(random.integers(len(self.operations)))]
            digits = int(random.integers(least, most + 1))
            question, answer = _OPERATIONS[operation](random, digits)
            if question not in seen and self._belongs(question, split):
                seen.add(question)
                yield {"question": question, "answer": answer, "digits": str(digits)}
            if len(seen) == self.sizes[split]:
                return

    def answer_metrics(self) -> "list[AnswerMetric | TextsMetric]":
        from lmlab.data.judges.verified import Verified

        return [Verified()]

    def _belongs(self, question: str, split: str) -> bool:
        if split == "longer":
            return True
        first, end = _HELD_OUT[split]
        return first <= int.from_bytes(hashlib.sha256(question.encode()).digest()[:8]) / 2**64 < end


def _numbers(random: np.random.Generator, digits: int) -> list[int]:
    """Draw two numbers of ``digits`` digits, of any size."""
    return [int("".join(map(str, _leading(random, digits)))) for _ in range(2)]


def _leading(random: np.random.Generator, digits: int) -> list[int]:
    """Draw digits; the first is not 0 unless it is the only one."""
    return [int(random.integers(digits > 1, 10)), *random.integers(0, 10, digits - 1).tolist()]


def _addition(random: np.random.Generator, digits: int) -> tuple[str, str]:
    first, second = _numbers(random, digits)
    return f"{first} + {second}", str(first + second)


def _multiplication(random: np.random.Generator, digits: int) -> tuple[str, str]:
    first, second = _numbers(random, digits)
    return f"{first} * {second}", str(first * second)


def _sorting(random: np.random.Generator, digits: int) -> tuple[str, str]:
    numbers = random.integers(0, 100, digits).tolist()
    return f"sort {' '.join(map(str, numbers))}", " ".join(map(str, sorted(numbers)))


def _spelling(random: np.random.Generator, digits: int) -> tuple[str, str]:
    word = "".join(_LETTERS[place] for place in random.integers(0, len(_LETTERS), digits))
    return f"spell {word}", " ".join(word)


_OPERATIONS: dict[str, Callable[[np.random.Generator, int], tuple[str, str]]] = {
    "addition": _addition,
    "multiplication": _multiplication,
    "sorting": _sorting,
    "spelling": _spelling,
}
