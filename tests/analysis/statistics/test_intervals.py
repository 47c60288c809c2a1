import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from lmlab.analysis.statistics.intervals import bootstrap_interval, mean_interval
from lmlab.errors import UserError


def test_the_interval_is_that_of_a_textbook():
    """Student's own data (1908): the gain of sleep by two drugs, mean 1.58, 95 % interval 0.70 to 2.46."""
    gains = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    estimate = mean_interval(gains)
    assert estimate.mean == pytest.approx(1.58)
    assert (estimate.low, estimate.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert estimate.n == 10 and estimate.sd == pytest.approx(1.229995, abs=1e-6)


def test_two_seeds_say_what_little_two_seeds_say():
    """With one degree of freedom Student's t is Cauchy's: half the width is |a - b| / 2 * tan(0.95 pi / 2)."""
    estimate = mean_interval([1.0, 3.0])
    assert estimate.high - estimate.mean == pytest.approx(math.tan(0.95 * math.pi / 2))


@pytest.mark.parametrize("interval", [mean_interval, bootstrap_interval])
def test_what_has_no_interval_has_none(interval):
    one = interval([2.5])
    assert one.mean == 2.5 and one.n == 1 and all(map(math.isnan, (one.low, one.high, one.sd)))
    same = interval([2.5, 2.5, 2.5])
    assert (same.mean, same.low, same.high, same.sd) == (2.5, 2.5, 2.5, 0.0)
    for bad in (math.nan, math.inf):
        diverged = interval([1.0, 2.0, bad])
        assert diverged.n == 3 and not math.isfinite(diverged.mean) and math.isnan(diverged.low)
    with pytest.raises(UserError, match="at least one number"):
        interval([])
    with pytest.raises(UserError, match="confidence=95"):
        interval([1.0, 2.0], confidence=95)


def test_the_bootstrap_is_bca_written_slowly():
    """Efron & Tibshirani 1993, section 14.3, with other resamples: the bounds agree up to their noise."""
    values = np.random.default_rng(5).lognormal(size=12)
    draw = np.random.default_rng(1)
    means = np.sort([draw.choice(values, 12).mean() for _ in range(40_000)])
    bias = special.ndtri(np.mean(means < values.mean()))
    without = np.array([np.delete(values, i).mean() for i in range(12)])
    off = without.mean() - without
    skew = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    level = [special.ndtr(bias + (bias + z) / (1 - skew * (bias + z))) for z in special.ndtri([0.025, 0.975])]
    estimate = bootstrap_interval(values)
    assert [estimate.low, estimate.high] == pytest.approx(np.quantile(means, level), rel=0.04)
    assert estimate == bootstrap_interval(values)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8, unique=True), st.floats(-1e3, 1e3), st.floats(0.5, 2))
def test_an_interval_moves_with_its_values(values, shift, scale):
    estimate, moved = mean_interval(values), mean_interval([scale * v + shift for v in values])
    assert moved.low == pytest.approx(scale * estimate.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * estimate.high + shift, abs=1e-6)


def test_coverage_is_what_the_docstring_says():
    """The t interval holds its 95 %; the bootstrap of three seeds holds about 70 %."""
    draw = np.random.default_rng(0)

    def coverage(interval, n, times):
        estimates = [interval(row) for row in draw.standard_normal((times, n))]
        return np.mean([f.low <= 0 <= f.high for f in estimates])

    for n in (2, 3, 5):
        assert coverage(mean_interval, n, 2000) == pytest.approx(0.95, abs=0.02)
    assert coverage(bootstrap_interval, 3, 300) == pytest.approx(0.71, abs=0.08)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(UserError, match=r"statistics need the package scipy \(pip install 'lmlab\[report\]'\)"):
        mean_interval([1.0, 2.0])
