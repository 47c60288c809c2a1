"""Base class of state-tracking tasks: the answer is a state that every symbol changes."""

from abc import abstractmethod
from typing import Literal

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, Generator, require

Answers = Literal["every", "last"]


class StateTracking(Generator):
    """Symbols whose running answer is predicted at every position, or once, at an end sign.

    With ``answers: every`` sequences have no end sign and fill their length. With ``last`` their length is drawn from 1
    to as many as fit; one more symbol, the end sign, follows, at which the answer is predicted, and pads the
    sequence.

    Args:
        symbols: number of symbols, without the end sign.
        answers: ``every`` or ``last``.
        step: symbols from one running answer to the next; the first answer is that of the first symbol.
    """

    def __init__(self, symbols: int, answers: Answers, longer: int | None, step: int = 1) -> None:
        super().__init__(longer)
        self.answers, self.step = answers, step
        self.end = symbols
        self.vocabulary = symbols + (answers == "last")

    @abstractmethod
    def running(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw symbols [rows, length] and the answer after each of them, ``NOT_SCORED`` where there is none."""

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        if self.answers == "every":
            return self.running(random, rows, length)
        sizes = 1 + self.step * random.integers(0, (length - 2) // self.step + 1, (rows, 1))
        inputs, answers = self.running(random, rows, length)
        inputs[np.arange(length) >= sizes] = self.end
        targets = np.full((rows, length), NOT_SCORED)
        np.put_along_axis(targets, sizes, np.take_along_axis(answers, sizes - 1, 1), 1)
        return inputs, targets

    def check(self, length: int) -> None:
        if self.answers == "every":
            require(length, 1, "a symbol")
        else:
            require(length, 2, "a symbol and the end sign")
