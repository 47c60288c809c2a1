"""The word problem of a symmetric group (Merrill et al. 2024, "The illusion of state in state-space models").

A sequence x_1 ... x_T of permutations has the running products y_t = y_{t-1} x_t, where (y x)(i) = y(x(i)). For five
things and more the problem is complete for NC1: unless TC0 = NC1, no transformer, S4 or Mamba of fixed depth and
logarithmic precision solves it at every length (sections 2 to 4), while a recurrence that is not linear does.

The paper's settings: degree 5, every running product scored, one model for each length, up to some 25.
"""

import itertools
import math

import numpy as np

from lmlab.data.synthetic.state_tracking import Answers, StateTracking
from lmlab.errors import UserError

_GREATEST = 6  # 720 symbols; the next has 5,040 and a table of their products of 25 million entries


class Permutations(StateTracking):
    """The product of the permutations so far. Symbols are the group's elements in lexicographic order, 0 the identity.

    Args:
        degree: number of things permuted.
        answers: score the running answer at ``every`` position, or only the ``last``, at an end sign.

    Raises:
        UserError: the degree is not from 2 to 6.
    """

    name = "permutations"

    def __init__(self, degree: int = 5, answers: Answers = "every", longer: int | None = 4) -> None:
        if not 2 <= degree <= _GREATEST:
            near = min(max(degree, 2), _GREATEST)
            raise UserError(f"data.degree={degree}: expected 2 to {_GREATEST} (nearest: {near})")
        super().__init__(math.factorial(degree), answers, longer)
        self.degree = degree
        elements = np.array(list(itertools.permutations(range(degree))))
        places = degree ** np.arange(degree)
        index = np.zeros(degree**degree, np.int64)
        index[elements @ places] = np.arange(len(elements))
        self.products = index[elements[:, elements] @ places]  # [y, x]: the index of y x

    def running(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = random.integers(0, len(self.products), (rows, length))
        answers = inputs.copy()
        for at in range(1, length):
            answers[:, at] = self.products[answers[:, at - 1], inputs[:, at]]
        return inputs, answers
