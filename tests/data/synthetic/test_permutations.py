import itertools

import numpy as np
import pytest

from lmlab.data.synthetic import Permutations
from lmlab.errors import UserError


def product(symbols: list[int], degree: int) -> int:
    """The product of permutations from left to right, (y x)(i) = y(x(i)), thing by thing."""
    elements = list(itertools.permutations(range(degree)))
    found = tuple(range(degree))
    for symbol in symbols:
        found = tuple(found[elements[symbol][thing]] for thing in range(degree))
    return elements.index(found)


@pytest.mark.parametrize(("degree", "length"), [(5, 25), (3, 60)])
def test_running_answers_follow_from_the_beginning(solved, degree, length):
    assert solved(Permutations(degree), lambda prefix: product(prefix, degree), length, rows=10) == 10 * length


def test_last_answers_follow_from_the_beginning(solved):
    assert solved(Permutations(4, "last"), lambda prefix: product(prefix[:-1], 4), 30) == 30


def test_the_published_group():
    task = Permutations()
    assert task.vocabulary == 120
    assert task.products[0].tolist() == task.products[:, 0].tolist() == list(range(120))
    assert (task.products != task.products.T).any()  # not commutative
    y, x, z = np.random.default_rng(0).integers(0, 120, (3, 500))
    assert (task.products[task.products[y, x], z] == task.products[y, task.products[x, z]]).all()


@pytest.mark.parametrize(("degree", "nearest"), [(1, 2), (7, 6)])
def test_impossible_degree(degree, nearest):
    with pytest.raises(UserError, match=rf"data\.degree={degree}: expected 2 to 6 \(nearest: {nearest}\)"):
        Permutations(degree)
