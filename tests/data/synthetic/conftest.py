"""What the tests of generated tasks share: the answers found from the beginning of a sequence alone."""

from collections.abc import Callable

import numpy as np
import pytest

from lmlab.data.synthetic import Generator

Solver = Callable[[list[int]], int]


@pytest.fixture
def solved() -> Callable[..., int]:
    """Assert that a solver, which reads no further than a scored position, gives every answer; return their number."""

    def check(task: Generator, solve: Solver, length: int, rows: int = 30) -> int:
        inputs, targets = task.generate(np.random.default_rng(2), rows, length)
        places = np.argwhere(targets >= 0)
        for row, at in places.tolist():
            assert solve(inputs[row, : at + 1].tolist()) == targets[row, at], (inputs[row].tolist(), at)
        return len(places)

    return check
