import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from lmlab.data.synthetic.generator import distinct, first_occurrences


@pytest.mark.parametrize(("among", "size"), [(4, 2), (4, 4), (5, 3)])
def test_every_ordered_choice_of_different_numbers_is_equally_likely(among, size):
    drawn = distinct(np.random.default_rng(0), among, (100, 200, size)).reshape(-1, size)
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(itertools.permutations(range(among), size))
    assert chisquare(list(counts.values())).pvalue > 0.01


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.randoms())
def test_first_occurrences(row, random):
    other = random.sample(row, len(row))
    found = first_occurrences(np.array([row, other]))
    assert found.tolist() == [[row.index(value) for value in row], [other.index(value) for value in other]]
