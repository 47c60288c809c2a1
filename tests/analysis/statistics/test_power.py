import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from lmlab.analysis.statistics.power import resolvable, seeds_needed
from lmlab.errors import UserError


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_for_cohens_small_medium_and_large_effects(effect, pairs):
    """G*Power, difference between two dependent means, two tails, alpha 0.05, power 0.8."""
    assert seeds_needed(1.0, effect) == pairs
    assert seeds_needed(0.02, -0.02 * effect) == pairs


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_what_is_resolvable_agrees_with_statsmodels(n, power, alpha):
    effect = resolvable(1.0, n, power, alpha)
    assert TTestPower().power(effect, n, alpha / 2, alternative="larger") == pytest.approx(power, abs=2e-4)
    assert resolvable(0.3, n, power, alpha) == pytest.approx(0.3 * effect)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_power_by_simulation(n):
    x = np.random.default_rng(n).normal(resolvable(1.0, n), 1.0, (20_000, n))
    found = stats.ttest_1samp(x, 0, axis=1)
    assert np.mean((found.pvalue < 0.05) & (found.statistic > 0)) == pytest.approx(0.8, abs=0.01)


@given(st.floats(0.01, 20), st.floats(0.3, 0.99), st.floats(0.001, 0.2))
def test_the_number_of_seeds_is_the_least_that_resolves(effect, power, alpha):
    n = seeds_needed(1.0, effect, power, alpha)
    assert resolvable(1.0, n, power, alpha) <= effect
    assert n == 2 or resolvable(1.0, n - 1, power, alpha) > effect


def test_the_ends():
    assert resolvable(1.0, 1) == math.inf
    assert resolvable(0.0, 3) == 0.0
    assert seeds_needed(0.0, 0.1) == 2
    for wrong, message in (
        (lambda: seeds_needed(1.0, 0.0), "difference=0.0"),
        (lambda: seeds_needed(1.0, 1e-9), "too small for a million seeds"),
        (lambda: seeds_needed(math.nan, 1.0), "sd=nan"),
        (lambda: resolvable(1.0, 0), "n=0"),
        (lambda: resolvable(1.0, 3, power=80), "power=80"),
        (lambda: resolvable(1.0, 3, alpha=5), "alpha=5"),
    ):
        with pytest.raises(UserError, match=message):
            wrong()
