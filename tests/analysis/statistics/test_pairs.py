import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from lmlab.analysis.statistics.intervals import mean_interval
from lmlab.analysis.statistics.pairs import _effect_size, paired, resolvable, seeds_needed, simultaneous
from lmlab.errors import UserError

SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def by_seed(values, start=0):
    return dict(enumerate(values, start))


def test_sleep_as_student_tested_it():
    """R: t.test(extra ~ group, sleep, paired = TRUE): t = -4.0621, p = 0.002833, -1.58 in [-2.4599, -0.7001]."""
    found = paired(by_seed(SLEEP[0]), by_seed(SLEEP[1]))
    assert found.test == "paired t" and found.n == 10
    assert found.p_value == pytest.approx(0.002833, abs=1e-6)
    assert (found.difference.mean, found.difference.low, found.difference.high) == pytest.approx(
        (-1.58, -2.459886, -0.700114), abs=1e-6
    )


def test_maize_as_fisher_tested_it():
    """Darwin's fifteen pairs (Fisher 1935, sections 17 and 21): t = 2.148; 1,726 of 32,768 sets of signs go as far."""
    found = paired(by_seed(MAIZE), by_seed([0.0] * 15))
    assert found.permutation_p_value == 1726 / 32768
    assert found.p_value == pytest.approx(2 * stats.t.sf(2.148, 14), abs=1e-4)


def test_unpaired_seeds_are_compared_by_welch_which_says_so():
    """R: t.test(extra ~ group, sleep): p = 0.07939, [-3.3654832, 0.2054832]."""
    found = paired(by_seed(SLEEP[0]), by_seed(SLEEP[1], start=10))
    assert found.test == "Welch t (seeds not shared)" and found.n == 10
    assert found.p_value == pytest.approx(0.07939, abs=1e-5)
    assert (found.difference.low, found.difference.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-6)
    uneven = paired(by_seed(SLEEP[0][:4]), by_seed(SLEEP[1], start=10))
    compare = CompareMeans(DescrStatsW(SLEEP[0][:4]), DescrStatsW(SLEEP[1]))
    assert uneven.p_value == pytest.approx(compare.ttest_ind(usevar="unequal")[1], rel=1e-9)
    assert (uneven.difference.low, uneven.difference.high) == pytest.approx(compare.tconfint_diff(usevar="unequal"))
    totals = [sum(chosen) for chosen in itertools.combinations(SLEEP[0][:4] + SLEEP[1], 4)]
    tail = min(np.mean([t <= sum(SLEEP[0][:4]) + 1e-9 for t in totals]), 0.5)
    assert len(totals) == 1001 and uneven.permutation_p_value == pytest.approx(2 * tail)
    smd = effectsize_smd(
        np.mean(SLEEP[0]), np.std(SLEEP[0], ddof=1), 10, np.mean(SLEEP[1]), np.std(SLEEP[1], ddof=1), 10
    )
    assert found.effect_size.mean == pytest.approx(float(np.squeeze(smd[0])), rel=1e-3)  # its correction is approximate
    assert math.isnan(found.effect_size.low) and math.isnan(found.effect_size.high)  # equal variances are not assumed


def test_only_shared_seeds_are_paired():
    found = paired({1: 1.0, 2: 2.0, 3: 3.5, 9: 100.0}, {3: 3.0, 1: 0.7, 2: 1.9, 4: -50.0})
    assert found.n == 3
    assert found.difference == mean_interval([1.0 - 0.7, 2.0 - 1.9, 3.5 - 3.0])


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_the_exact_test_of_few_seeds_cannot_reach_far(n):
    found = paired(by_seed([1.0 + 0.01 * i for i in range(n)]), by_seed([0.0] * n))
    assert found.permutation_p_value == 2 / 2**n
    assert (found.permutation_p_value < 0.05) == (n >= 6)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=7))
def test_the_exact_test_counts_signs(differences):
    """Written slowly: the part of all ways to set the signs whose sum is as far from zero."""
    found = paired(by_seed(differences), by_seed([0] * len(differences)))
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    assert found.permutation_p_value == pytest.approx(np.mean([s >= abs(sum(differences)) for s in sums]))


def test_the_effect_size_and_its_interval():
    """Noncentrality for t = 2.83 with 126 degrees of freedom: 0.8337502 to 4.8153590 (MBESS's conf.limits.nct)."""
    found = _effect_size(2.83 / math.sqrt(127), 126, 127, 0.95, 127)
    assert (found.low * math.sqrt(127), found.high * math.sqrt(127)) == pytest.approx((0.8337502, 4.8153590), abs=1e-5)
    sleep = paired(by_seed(SLEEP[0]), by_seed(SLEEP[1])).effect_size
    d = -1.58 / np.std(np.subtract(*SLEEP), ddof=1)
    assert sleep.mean == pytest.approx(d * math.gamma(4.5) / (math.gamma(4) * math.sqrt(4.5)))
    for bound, level in ((sleep.low, 0.025), (sleep.high, 0.975)):
        solved = optimize.brentq(lambda nc, p=1 - level: stats.nct.cdf(d * math.sqrt(10), 9, nc) - p, -15, 5)
        assert bound == pytest.approx(solved / math.sqrt(10), abs=1e-5)


def test_the_effect_size_is_unbiased_and_its_interval_covers():
    draw = np.random.default_rng(0)
    found = [_effect_size(x.mean() / x.std(ddof=1), 4, 5, 0.95, 5) for x in draw.normal(0.8, 1, (4000, 5))]
    assert np.mean([f.mean for f in found]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([f.low <= 0.8 <= f.high for f in found]) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("n", [3, 5])
def test_type_one_errors_are_as_many_as_promised(n):
    """Pairs that share the noise of their seed and differ in nothing: 5 % are called different; the interval agrees."""
    draw = np.random.default_rng(n)
    seed_noise = draw.standard_normal((500, n, 1)) * 3
    arms = seed_noise + draw.standard_normal((500, n, 2))
    found = [paired(by_seed(pair[:, 0]), by_seed(pair[:, 1])) for pair in arms]
    assert all((f.p_value < 0.05) == (not f.difference.low <= 0 <= f.difference.high) for f in found)
    assert np.mean([f.p_value < 0.05 for f in found]) == pytest.approx(0.05, abs=0.025)
    assert not any(f.permutation_p_value < 0.05 for f in found)


def test_what_cannot_be_tested_has_no_p_value():
    none = paired({1: 1.0}, {2: 2.0, 3: 3.0})
    assert none.test == "none (too few seeds)" and none.difference.mean == -1.5 and math.isnan(none.p_value)
    flat = paired({1: 1.1, 2: 2.1, 3: 3.1}, {1: 1.0, 2: 2.0, 3: 3.0})  # 0.1 three times, up to rounding
    assert math.isnan(flat.p_value) and math.isnan(flat.effect_size.mean) and flat.permutation_p_value == 0.25
    assert math.isnan(flat.difference.low)  # an interval without width would exclude zero beside no p value
    diverged = paired({1: 1.0, 2: math.inf}, {1: 2.0, 2: math.inf})
    assert diverged.test == "paired t" and math.isnan(diverged.p_value) and math.isnan(diverged.difference.low)
    apart = paired({1: 1.0, 2: math.nan}, {3: 2.0, 4: 3.0})
    assert apart.test == "Welch t (seeds not shared)" and math.isnan(apart.p_value)
    with pytest.raises(UserError, match="at least one number"):
        paired({}, {1: 1.0})


SCORES = st.dictionaries(st.integers(0, 4), st.floats(-3, 3) | st.just(math.nan), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(SCORES, min_size=2, max_size=4), st.floats(0.001, 0.5))
def test_an_interval_excludes_zero_exactly_where_the_corrected_p_value_is_below_alpha(arms, alpha):
    found = simultaneous(list(itertools.combinations(arms, 2)), alpha)
    for test in found:
        excluded = test.difference.low > 0 or test.difference.high < 0  # no bounds: nothing is excluded
        assert excluded == (test.p_value < alpha)
        effect = test.effect_size
        if not math.isnan(effect.low):
            assert (effect.low > 0 or effect.high < 0) == (test.p_value < alpha) or test.p_value == pytest.approx(alpha)


def test_each_p_value_and_interval_is_corrected_for_all_comparisons_that_are_tested():
    arms = [by_seed([1.0, 1.2, 0.9, 1.1]), by_seed([1.4, 1.5, 1.5, 1.6]), by_seed([2.0, 2.6, 2.1, 2.2]), {9: 1.0}]
    pairs = list(itertools.combinations(arms, 2))
    found = simultaneous(pairs)
    tested = [(test, pair) for test, pair in zip(found, pairs, strict=True) if {9: 1.0} not in pair]
    assert len(tested) == 3 and sum(math.isnan(test.p_value) for test in found) == 3
    for test, (first, second) in tested:
        first, second = list(first.values()), list(second.values())
        alone = stats.ttest_rel(first, second)
        low, high = alone.confidence_interval(1 - 0.05 / 3)
        assert test.p_value == pytest.approx(min(1, 3 * alone.pvalue))
        assert (test.difference.low, test.difference.high) == pytest.approx((low, high))
        assert test.permutation_p_value == pytest.approx(
            min(1, 3 * paired(by_seed(first), by_seed(second)).permutation_p_value)
        )
    assert simultaneous([]) == []
    assert simultaneous(pairs[:1]) == [paired(*pairs[0])]  # a single one needs no correction


@pytest.mark.parametrize("spreads", [(1, 1, 1, 1), (1, 1, 1, 5)])
def test_all_intervals_cover_the_truth_together(spreads):
    """Four arms with known means, each with noise of its own and that of the seed: all six intervals hold the truth."""
    draw, means, draws = np.random.default_rng(0), np.array([0.0, 0.0, 1.0, 3.0]), 160
    pairs = list(itertools.combinations(range(4), 2))
    missed = uncorrected = 0
    for _ in range(draws):
        runs = means + draw.standard_normal((3, 1)) + draw.standard_normal((3, 4)) * spreads
        arms = [by_seed(scores) for scores in runs.T]
        truths = [means[i] - means[j] for i, j in pairs]
        found = simultaneous([(arms[i], arms[j]) for i, j in pairs])
        missed += any(not t.difference.low <= d <= t.difference.high for t, d in zip(found, truths, strict=True))
        alone = [stats.ttest_1samp(runs[:, i] - runs[:, j], d).pvalue for (i, j), d in zip(pairs, truths, strict=True)]
        uncorrected += min(alone) < 0.05
    assert missed / draws <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / draws)
    assert uncorrected / draws > 0.15  # what is measured here can fail


def test_a_comparison_seen_from_the_other_side():
    one, other = by_seed([1.0, 1.2, 0.9, 1.1]), by_seed([1.4, 1.5, 1.3, 1.6])
    seen, other_side = paired(one, other).turned(), paired(other, one)
    for name in ("difference", "effect_size"):
        a, b = getattr(seen, name), getattr(other_side, name)
        assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high))
    assert seen.p_value == other_side.p_value


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
