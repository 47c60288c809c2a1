"""What each kind of result is called."""

import math

import numpy as np
import pytest
from scipy import stats

from lmlab.analysis.comparison import Comparison, LeftOut
from lmlab.analysis.doubts import Doubt
from lmlab.analysis.report.content.captions import decimals, listed, probability
from lmlab.analysis.report.content.conclusion import conclusion
from lmlab.numerals import counted

WHERE = "On the validation split of stdlib"
EQUAL = f"{WHERE}, at equal parameters, tokens, training FLOPs and training time, "


def test_two_arms_that_differ(arm, compared, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    differences = np.array(list(lstm.values())) - np.array(list(transformer.values()))
    low, high = stats.t.interval(0.95, 4, differences.mean(), stats.sem(differences))
    p = stats.ttest_rel(list(lstm.values()), list(transformer.values())).pvalue
    assert p < 0.001
    expected = (
        f"{EQUAL}transformer reaches {np.mean(list(transformer.values())):.3f} loss (nats/token) against lstm "
        f"{np.mean(list(lstm.values())):.3f}: {differences.mean():.3f} [{low:.3f}, {high:.3f}] lower "
        "over 5 paired seeds (p < 0.001)."
    )
    assert conclusion(compared(), []) == expected
    assert conclusion(compared(baseline="transformer"), []) == expected  # whichever is the baseline


def test_two_arms_that_cannot_be_is_significant_and_the_seeds_that_would(arm, compared):
    arm("lstm", {1: 1.50, 2: 1.52, 3: 1.48})
    arm("transformer", {1: 1.51, 2: 1.49, 3: 1.47})
    differences = np.array([-0.01, 0.03, 0.01])
    p = stats.ttest_1samp(differences, 0).pvalue
    found = conclusion(compared(), [])
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert found == (
        f"{EQUAL}no significant difference: transformer reaches 1.490 loss (nats/token) against lstm 1.500, "
        f"0.010 [-0.040, 0.060] lower over 3 paired seeds (p = {p:.2f}); if the difference is as large as it "
        "seems, it takes 34 paired seeds."
    )
    assert (low, high) == pytest.approx((-0.0397, 0.0597), abs=1e-4)
    power = [_power(0.01 / 0.02, n) for n in (33, 34)]
    assert power[0] < 0.8 <= power[1]


def _power(effect: float, n: int) -> float:
    """Of a two-sided paired t test, from the noncentral t distribution."""
    critical = stats.t.ppf(0.975, n - 1)
    shifted = stats.nct(n - 1, effect * math.sqrt(n))
    return float(shifted.sf(critical) + shifted.cdf(-critical))


def test_one_seed_tells_nothing(arm, compared):
    arm("lstm", {1: 1.5})
    arm("transformer", {1: 1.4})
    assert conclusion(compared(), []) == (
        f"{EQUAL}transformer reaches 1.400 loss (nats/token) against lstm 1.500, but with one seed each there is no "
        "interval and no test, so it is unknown which is better."
    )
    arm("lstm", {2: 1.5})
    assert "transformer has one seed, so there is no interval and no test" in conclusion(compared(), [])


def test_seeds_that_are_not_shared_are_not_called_paired(arm, compared):
    arm("lstm", {1: 1.50, 2: 1.501, 3: 1.499})
    arm("transformer", {11: 1.40, 12: 1.401, 13: 1.399})
    assert "0.100 [0.098, 0.102] lower over 3 unpaired seeds (p < 0.001)" in conclusion(compared(), [])


def test_a_diverged_run_is_named_and_nothing_is_averaged_around_it(arm, with_diverged):
    arm("lstm", {1: 1.50, 2: math.nan, 3: 1.49})
    arm("transformer", {1: 1.40, 2: 1.41, 3: 1.39})
    found = conclusion(with_diverged(), [])
    assert "1 run of lstm diverged, so a mean over seeds is meaningless" in found
    assert "lstm nan" in found


def test_of_several_arms_each_is_held_against_the_baseline(arm, compared, losses):
    lstm, transformer = losses
    gru = {seed: loss + (0.004 if seed % 2 else -0.005) for seed, loss in lstm.items()}
    arm("gru", gru)
    arm("lstm", lstm)
    arm("transformer", transformer)
    values = [list(v.values()) for v in (transformer, gru, lstm)]
    one, other = (stats.ttest_rel(v, values[2]).pvalue for v in values[:2])
    best = stats.ttest_rel(values[0], values[1]).pvalue
    assert 3 * one < 0.001 and 3 * best < 0.05 < other  # three pairs of arms
    low, high = stats.ttest_rel(values[0], values[2]).confidence_interval(1 - 0.05 / 3)
    found = conclusion(compared(baseline="lstm"), [])
    assert found.startswith(
        f"{EQUAL}of 3 arms transformer has the best mean, 1.429 loss (nats/token); compared with lstm "
    )
    assert f"(1.500) over 5 paired seeds, transformer is 0.071 [{-high:.3f}, {-low:.3f}] lower" in found
    assert "lower (p < 0.001, Bonferroni); no significant difference for gru (p = 1.00); transformer differs " in found
    assert found.endswith("differs significantly from every other arm.")


def test_the_best_arm_is_held_against_those_that_are_not_the_baseline(arm, compared, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    arm("gru", {seed: loss + (0.004 if seed % 2 else -0.005) for seed, loss in transformer.items()})
    found = conclusion(compared(baseline="lstm"), [])
    assert "transformer has the best mean" in found and found.endswith(
        "transformer does not differ significantly from gru."
    )
    assert conclusion(compared(baseline="transformer"), []).endswith("no significant difference for gru (p = 1.00).")


def test_the_best_arm_is_not_said_to_differ_from_a_baseline_that_it_may_equal(arm, compared):
    arm("lstm", {1: 1.50, 2: 1.60, 3: 1.40, 4: 1.55, 5: 1.45})
    arm("gru", {1: 1.48, 2: 1.49, 3: 1.47, 4: 1.485, 5: 1.475})
    arm("transformer", {1: 1.98, 2: 1.992, 3: 1.971, 4: 1.985, 5: 1.974})
    found = conclusion(compared(baseline="lstm"), [])
    assert "no significant difference for gru (p = 1.00)" in found
    assert found.endswith("gru differs significantly from every arm but lstm.")


def test_means_and_difference_of_a_pair_are_over_the_same_seeds(arm, compared):
    arm("lstm", {1: 1.0, 2: 1.1, 3: 1.05, 4: 3.0})  # alone in its fourth seed, and bad there
    arm("gru", {1: 1.2, 2: 1.31, 3: 1.26})
    differences = np.array([0.2, 0.21, 0.21])
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    assert f"lstm reaches 1.050 loss (nats/token) against gru 1.257: 0.207 [{low:.3f}, {high:.3f}] lower" in (
        conclusion(compared(), [])
    )
    arm("transformer", {1: 1.4, 2: 1.51, 3: 1.46})
    several = conclusion(compared(baseline="lstm"), [])
    assert "gru has the best mean, 1.257 loss (nats/token) over 3 seeds; compared with lstm (1.538 over 4 " in several
    assert "over 3 paired seeds, gru is 0.207 [" in several


def test_pairs_with_and_without_shared_seeds_are_told_apart(arm, compared, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    arm("gru", {seed + 10: loss for seed, loss in lstm.items()})
    found = conclusion(compared(baseline="lstm"), [])
    assert "compared with lstm (1.500), transformer is 0.071 [" in found
    assert "lower over 5 paired seeds (p < 0.001, Bonferroni)" in found
    assert "no significant difference for gru (p = 1.00 over 5 unpaired seeds)" in found


def test_more_accuracy_is_better(arm, compared, losses):
    lstm, transformer = losses
    arm("lstm", lstm)
    arm("transformer", transformer)
    found = conclusion(compared("validation/accuracy"), [])
    means = [np.mean(np.exp(-np.array(list(v.values())))) for v in (transformer, lstm)]
    assert f"transformer reaches {means[0]:.3f} accuracy against lstm {means[1]:.3f}" in found
    assert "] higher over 5 paired seeds" in found


def test_what_is_refused_has_no_conclusion(arm, compared, losses):
    arm("lstm", losses[0])
    arm("transformer", losses[1])
    one = Doubt(2, "other data", "refuse", "lstm was trained on a, transformer on b.", ["x"])
    doubt = Doubt(13, "too few seeds", "doubt", "only 2 seeds", [])
    assert conclusion(compared(), [doubt, one]) == (
        "These runs cannot be compared, so there is no conclusion: lstm was trained on a, transformer on b."
    )
    assert conclusion(compared(), [one, one]).endswith("on b (and 1 more reason below).")
    assert "lower over" in conclusion(compared(), [doubt])


def test_what_is_left_out_is_said(arm, compared, losses):
    arm("lstm", losses[0])
    arm("transformer", losses[1])
    arm("transformer", {6: 9.0, 7: 9.0}, status="failed")
    assert conclusion(compared(), []).endswith("over 5 paired seeds (p < 0.001); left out: 2 runs of transformer.")


def test_one_arm_and_none(arm, compared):
    arm("lstm", {1: 1.50, 2: 1.52})
    low, high = stats.t.interval(0.95, 1, 1.51, 0.01)
    assert conclusion(compared(), []) == (
        f"{WHERE}, lstm reaches 1.510 [{low:.3f}, {high:.3f}] loss (nats/token) over 2 seeds; there is no second "
        "arm to compare it with."
    )
    nothing = Comparison("validation/loss", [], [LeftOut("a", "is failed")])
    assert conclusion(nothing, []) == (
        "There is nothing to compare: no run has ended with a score in validation loss (nats/token); 1 run left out."
    )


def test_what_is_not_equal_is_not_claimed(arm, compared, losses):
    arm("lstm", losses[0], parameters=1_000_000)
    arm("transformer", losses[1], parameters=1_300_000)
    assert conclusion(compared(), []).startswith(f"{WHERE}, at equal tokens and training time, transformer reaches")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (decimals(0.069), 3),
        (decimals(0.00042), 4),
        (decimals(0.0), 3),
        (decimals(math.nan), 3),
        (counted(1, "seed"), "1 seed"),
        (counted(1200, "seed"), "1,200 seeds"),
        (listed(["a"]), "a"),
        (listed([]), ""),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a", "b", "c"], most=2), "a, b and 1 more"),
        (probability(0.0004), "p < 0.001"),
        (probability(0.0321), "p = 0.032"),
        (probability(0.4567), "p = 0.46"),
    ],
)
def test_words(found, expected):
    assert found == expected
