import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import qmc

from lmlab.sweeps.search import Space
from lmlab.sweeps.search.varied import balanced, spread


@given(st.text(max_size=10), st.integers(0, 10**6), st.integers(1, 4))
def test_every_aligned_block_of_powers_of_three_has_one_number_in_each_stratum(stream, block, level):
    size = 3**level
    shares = [spread(stream, size * block + place) for place in range(size)]
    assert sorted(int(share * size) for share in shares) == list(range(size))


@given(st.text(max_size=10), st.integers(1, 40), st.integers(0, 100))
def test_the_values_of_a_list_are_drawn_equally_often_after_any_number_of_draws(stream, values, draws):
    counts = Counter(int(balanced(stream, number, values) * values) for number in range(draws))
    assert all(0 <= value < values for value in counts)
    assert max(counts.values(), default=0) - min(counts[value] for value in range(values)) <= 1


@pytest.mark.parametrize("trials", [3, 5, 8, 12, 20, 40])
def test_few_draws_leave_smaller_gaps_than_independent_ones(trials):
    """Mean discrepancy over 40 seeds, of one option, and of pairs of options."""
    draw = np.random.default_rng(0)
    ours = [
        [[spread(f"{seed},{key}", n) for key in ("optimizer.lr", "x")] for n in range(trials)] for seed in range(40)
    ]
    independent = draw.random((40, trials, 2))

    def mean_discrepancy(samples):
        return np.mean([qmc.discrepancy(sample, method="CD") for sample in samples])

    one, one_independent = ([np.array(s)[:, :1] for s in samples] for samples in (ours, independent))
    assert mean_discrepancy(one) < 0.5 * mean_discrepancy(one_independent)
    assert mean_discrepancy(ours) < 0.8 * mean_discrepancy(independent)


def test_three_draws_of_every_option_lie_in_a_third_each():
    words = ["lr=tag(log,interval(1e-3,3e-2))", "x=interval(-1,3)", "n=int(interval(1,6))", "d=range(0,9)", "c=a,b,c"]
    for seed in range(20):
        jobs = [dict(word.split("=") for word in Space(words).draw(seed, number)) for number in range(3)]
        logs = [np.log(float(job["lr"]) / 1e-3) / np.log(30) for job in jobs]
        shares = [logs, *([(float(job["x"]) + 1) / 4 for job in jobs], [(int(job["n"]) - 0.5) / 6 for job in jobs])]
        shares += [[(int(job["d"]) + 0.5) / 9 for job in jobs]]
        assert all(sorted(int(3 * share) for share in of_one) == [0, 1, 2] for of_one in shares)
        assert {job["c"] for job in jobs} == {"a", "b", "c"}


def test_options_are_not_correlated():
    """Over many seeds no two options rise and fall together, nor is one's third known from the other's."""
    keys = ("optimizer.lr", "optimizer.weight_decay", "model.dropout")
    for trials in (3, 9, 27):
        shares = np.array([[[spread(f"{s},{k}", n) for n in range(trials)] for k in keys] for s in range(150)])
        for one, other in itertools.combinations(range(len(keys)), 2):
            found = [stats.pearsonr(a[one], a[other]).statistic for a in shares]
            assert abs(np.mean(found)) < 3 / np.sqrt(150 * (trials - 1))
    thirds = (3 * shares).astype(int)
    cells = Counter(zip(thirds[:, 0].ravel().tolist(), thirds[:, 1].ravel().tolist(), strict=True))
    assert stats.chisquare(list(cells.values())).pvalue > 0.01 and len(cells) == 9
