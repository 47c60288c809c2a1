"""Arithmetic modulo a small number (Deletang et al. 2022, tasks Modular Arithmetic, Simple and with brackets).

    1 + 2 * 4 - 3                modulo 5, running answers at the digits: 1, 3, 4, 1
    ( ( - 2 ) * ( 1 + 4 ) ) =    at the sign =: 0

The paper's settings: modulus 5, ``answers: last``, lengths drawn from 1 to 40 (batch.context=41), tested at up to 500.
"""

import numpy as np

from lmlab.data.synthetic.generator import NOT_SCORED, at_least
from lmlab.data.synthetic.state_tracking import Answers, StateTracking
from lmlab.errors import UserError

_PLUS, _MINUS, _TIMES, _OPEN, _CLOSE = range(5)  # symbols after the digits
_SPLIT = 5  # an expression of this length or more is (left operation right)


class ModularArithmetic(StateTracking):
    """An expression of digits, plus, minus and times; its value modulo ``modulus`` is predicted.

    Symbols are the digits below the modulus, then + - * and, with brackets, ( ). Without brackets times binds closer,
    as usual, and the answer after each digit is the value of the expression so far. With brackets expressions have any
    length: ``d``, ``-d``, ``(d)``, ``(-d)``, and from 5 on ``(left operation right)``, cut at a place drawn uniformly.

    Args:
        modulus: numbers are 0 to modulus - 1.
        brackets: context-free expressions instead of regular ones.
        answers: score the running answer at ``every`` digit, or only the ``last``, at an end sign.

    Raises:
        UserError: a modulus below 2, or ``answers: every`` with brackets, where only the whole has a value.
    """

    name = "modular_arithmetic"

    def __init__(
        self, modulus: int = 5, brackets: bool = False, answers: Answers = "every", longer: int | None = 4
    ) -> None:
        at_least("modulus", modulus, 2, "there is more than one answer")
        if brackets and answers == "every":
            raise UserError(
                "data.answers=every: an expression with brackets has a value at its end only; expected last"
            )
        super().__init__(modulus + (5 if brackets else 3), answers, longer, step=2)
        self.modulus, self.brackets = modulus, brackets

    def running(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = random.integers(0, self.modulus, (rows, length))
        operations = random.integers(0, 3, (rows, length // 2))
        inputs[:, 1::2] = self.modulus + operations
        answers = np.full((rows, length), NOT_SCORED)
        total, term = np.zeros(rows, np.int64), inputs[:, 0]  # the finished terms, and the current one
        answers[:, 0] = term
        for at in range(2, length, 2):
            operation, digit = operations[:, at // 2 - 1], inputs[:, at]
            times = operation == _TIMES
            total = np.where(times, total, total + term)
            term = np.where(times, term * digit, np.where(operation == _MINUS, -digit, digit)) % self.modulus
            answers[:, at] = (total + term) % self.modulus
        return inputs, answers

    def generate(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.brackets:
            return super().generate(random, rows, length)
        sizes = random.integers(1, length, rows)
        inputs = np.full((rows, length), self.end)
        values = self._write(random, inputs, sizes)
        targets = np.full((rows, length), NOT_SCORED)
        targets[np.arange(rows), sizes] = values
        return inputs, targets

    def _write(self, random: np.random.Generator, inputs: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Write an expression of the given size at the beginning of each row; return the values [rows].

        All expressions of one depth of nesting are written at a time, then evaluated from the innermost outwards.
        """
        m = self.modulus
        row, begin, size = np.arange(len(sizes)), np.zeros_like(sizes), sizes
        levels = []
        while len(row):
            leaf = size < _SPLIT
            value = random.integers(0, m, len(row)) * leaf
            closed, negative = leaf & (size >= 3), leaf & (size % 2 == 0)
            for where, place, symbol in (
                (closed | ~leaf, begin, m + _OPEN),
                (closed | ~leaf, begin + size - 1, m + _CLOSE),
                (negative, begin + closed, m + _MINUS),
                (leaf, begin + closed + negative, value),
            ):
                inputs[row[where], place[where]] = np.broadcast_to(symbol, row.shape)[where]
            split_row, split_begin, split_size = row[~leaf], begin[~leaf], size[~leaf]
            left = random.integers(1, split_size - 3) if len(split_row) else split_size
            operation = random.integers(0, 3, len(split_row))
            inputs[split_row, split_begin + 1 + left] = m + operation
            levels.append((np.where(negative, -value, value), ~leaf, operation))
            row = np.concatenate([split_row, split_row])
            begin = np.concatenate([split_begin + 1, split_begin + 2 + left])
            size = np.concatenate([left, split_size - 3 - left])
        inner = np.empty(0, np.int64)
        for value, split, operation in reversed(levels):
            left_value, right_value = np.split(inner, 2)
            value[split] = np.choose(
                operation, [left_value + right_value, left_value - right_value, left_value * right_value]
            )
            inner = value % m
        return inner
