import math

import numpy as np
import pytest
from scipy import optimize

from lmlab.analysis.statistics import scaling
from lmlab.analysis.statistics.scaling import power_law, scaling_law
from lmlab.errors import UserError

PUBLISHED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""Hoffmann et al. 2022, equation 10."""


def published(parameters, tokens):
    return 1.69 + 406.4 / parameters**0.34 + 410.7 / tokens**0.28


def grid(side, seed=0, noise=0.0):
    parameters, tokens = map(np.ravel, np.meshgrid(np.logspace(7, 10, side), np.logspace(9, 12, side)))
    noise = np.exp(noise * np.random.default_rng(seed).standard_normal(side**2))
    return parameters, tokens, published(parameters, tokens) * noise


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scaling, "RESAMPLES", 40)


@pytest.fixture(scope="module")
def exact():
    return scaling_law(*grid(4))


def test_known_coefficients_are_found(exact):
    assert [one.mean for one in exact.coefficients] == pytest.approx([*PUBLISHED.values()], rel=1e-5)
    assert exact.error < 1e-9


def test_predictions_are_the_published_ones(exact):
    """Gopher, 280B parameters on 300B tokens: 1.993; Chinchilla, 70B on 1.4T: 1.936."""
    assert exact.predict([280e9, 70e9], [300e9, 1.4e12]) == pytest.approx([1.993, 1.936], abs=1e-3)
    assert exact.predict(280e9, [300e9]) == pytest.approx([1.993], abs=1e-3)


def test_noise_is_in_the_intervals():
    law = scaling_law(*grid(4, seed=3, noise=0.003))
    for estimate, (name, value) in zip(law.coefficients, PUBLISHED.items(), strict=True):
        assert estimate.low <= value <= estimate.high and estimate.low <= estimate.mean <= estimate.high, name
        assert estimate.n == 16 and estimate.high > estimate.low
    assert law.error == pytest.approx(0.003, rel=0.5)
    low, high = law.band([1e8, 1e9], 1e11)
    assert np.all((low <= law.predict([1e8, 1e9], 1e11)) & (law.predict([1e8, 1e9], 1e11) <= high))
    again = scaling_law(*grid(4, seed=3, noise=0.003))
    assert again.coefficients == law.coefficients


def test_outliers_hardly_move_it():
    """Three runs of 36 that went wrong: least squares goes far off, the Huber loss does not."""
    parameters, tokens, loss = grid(6, seed=1, noise=0.0005)
    spoilt = loss.copy()
    spoilt[[3, 17, 30]] *= 1.3
    clean, law = scaling_law(parameters, tokens, loss), scaling_law(parameters, tokens, spoilt)
    E, _, _, alpha, beta = law.best
    assert alpha == pytest.approx(0.34, abs=0.01) and beta == pytest.approx(0.28, abs=0.01)
    assert pytest.approx(clean.best[0], abs=0.03) == E

    def residuals(x):
        return np.log(x[0] + np.exp(x[1]) / parameters ** x[2] + np.exp(x[3]) / tokens ** x[4]) - np.log(spoilt)

    start = [1.69, math.log(406.4), 0.34, math.log(410.7), 0.28]
    squares = optimize.least_squares(residuals, start, bounds=([0.01] * 5, [3, 20, 2, 20, 2])).x
    assert abs(squares[0] - 1.69) > 3 * abs(E - 1.69)


def test_it_is_the_minimum_of_the_papers_objective():
    """Equation 3, descended by L-BFGS from a grid like the paper's: none goes lower."""
    parameters, tokens, loss = grid(3, seed=7, noise=0.005)
    law = scaling_law(parameters, tokens, loss)

    def objective(x):
        a, b, e, alpha, beta = x
        terms = [a - alpha * np.log(parameters), b - beta * np.log(tokens), np.full(len(loss), e)]
        off = np.abs(np.logaddexp.reduce(terms) - np.log(loss))
        return 1e4 * np.sum(np.where(off <= 1e-3, off**2 / 2, 1e-3 * (off - 1e-3 / 2)))

    E, A, B, alpha, beta = law.best
    ours = objective([*np.log([A, B, E]), alpha, beta])
    starts = [(a, b, e, s, s) for a, b in ((5, 5), (5, 10), (10, 5)) for e in (0.0, 0.7) for s in (0.3,)]
    theirs = [optimize.minimize(objective, start, method="L-BFGS-B").fun for start in starts]
    assert ours <= min(theirs) + 1e-6
    assert min(theirs) == pytest.approx(ours, rel=0.05)


def test_what_to_spend_operations_on(exact):
    """The allocation is the least loss along N * D = C / 6, found by a line search instead of equation 4."""
    for flops in (1e18, 5.76e23):
        law = exact.optimal(flops)
        line = optimize.minimize_scalar(
            lambda log, c=flops: published(math.exp(log), c / 6 / math.exp(log)), bounds=(10, 35), method="bounded"
        )
        assert law.parameters.mean == pytest.approx(math.exp(line.x), rel=1e-2)
        assert law.loss.mean == pytest.approx(line.fun, rel=1e-6)
        assert 6 * law.parameters.mean * law.tokens.mean == pytest.approx(flops)
    exponent = math.log(exact.optimal(1e24).parameters.mean / exact.optimal(1e20).parameters.mean) / math.log(1e4)
    assert exponent == pytest.approx(0.46, abs=0.01)  # Table 2, approach 3
    with pytest.raises(UserError, match="flops=0"):
        exact.optimal(0)


def test_a_power_law_of_operations():
    flops = np.logspace(15, 21, 9)
    exact = power_law(flops, 1.7 + 50 * flops**-0.12)
    assert tuple(exact.best) == pytest.approx((1.7, 50, 0.12), rel=1e-5)
    assert exact.predict(1e24) == pytest.approx([1.7 + 50 * 1e24**-0.12])
    noisy = power_law(flops, (1.7 + 50 * flops**-0.12) * np.exp(0.002 * np.random.default_rng(5).standard_normal(9)))
    for estimate, value in zip(noisy.coefficients, (1.7, 50, 0.12), strict=True):
        assert estimate.low <= value <= estimate.high and estimate.n == 9
    low, high = noisy.band([1e18])
    assert low[0] <= 1.7 + 50 * 1e18**-0.12 <= high[0]


def refused(message, change):
    parameters, tokens, loss = change(*grid(4))
    with pytest.raises(UserError, match=message):
        scaling_law(parameters, tokens, loss)


def test_runs_that_cannot_determine_it_are_refused_with_the_reason():
    refused("5 coefficients needs 7 runs, not 6", lambda n, d, loss: (n[:6], d[:6], loss[:6]))
    refused("three values of tokens", lambda n, d, loss: (n[:8], d[:8], loss[:8]))
    refused("three values of parameters", lambda n, d, loss: (1e8 * (1 + n / 1e10), d, loss))
    refused("parameters and tokens grow together", lambda n, d, loss: (n, 20 * n, published(n, 20 * n)))
    refused("runs that differ", lambda n, d, loss: (n, d, 0 * loss + 2))
    refused("loss of run 2 is nan", lambda n, d, loss: (n, d, np.where(np.arange(16) == 2, np.nan, loss)))
    refused("one value a run", lambda n, d, loss: (n, d[1:], loss))
    with pytest.raises(UserError, match="3 coefficients needs 5 runs, not 4"):
        power_law([1e15, 1e16, 1e17, 1e18], [3.0, 2.5, 2.2, 2.1])


def test_no_allocation_is_best_where_more_parameters_are_worse():
    parameters, tokens, _ = grid(4)
    law = scaling_law(parameters, tokens, 1.0 + 0.01 * parameters**0.2 + 410.7 / tokens**0.28)
    with pytest.raises(UserError, match="no allocation is best"):
        law.optimal(1e20)
