"""Parity of a binary string (Deletang et al. 2022, task Parity Check).

    0 1 1 1 0      running answers: 0 1 0 1 1

The paper's settings: ``answers: last``, lengths drawn from 1 to 40 (batch.context=41), tested at up to 500.
"""

import numpy as np

from lmlab.data.synthetic.state_tracking import Answers, StateTracking


class Parity(StateTracking):
    """The parity of the number of ones so far.

    Args:
        answers: score the running answer at ``every`` position, or only the ``last``, at an end sign.
    """

    name = "parity"

    def __init__(self, answers: Answers = "every", longer: int | None = 4) -> None:
        super().__init__(2, answers, longer)

    def running(self, random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        bits = random.integers(0, 2, (rows, length))
        return bits, np.bitwise_xor.accumulate(bits, axis=1)
