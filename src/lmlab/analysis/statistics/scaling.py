"""Scaling laws: the loss against parameters, tokens and operations, and the best allocation of a budget.

Dimension key: R runs, K powers, S resamples.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from lmlab.analysis.statistics.intervals import Array, Estimate, library
from lmlab.errors import UserError

CONFIDENCE = 0.95
"""Of all intervals and bands."""

DELTA = 1e-3
"""Point at which the Huber loss turns from quadratic to linear, in units of log loss."""

RESAMPLES = 200
_STARTS = 12
_EXPONENTS = (0.05, 0.15, 0.3, 0.5, 0.8, 1.3)
_SPARE = 2
"""Runs needed beyond the number of coefficients, to judge the fit by."""
_SPREAD = 4
"""Required ratio of the greatest to the least value of every x."""
_CORRELATION = 0.99
_BOUNDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True, eq=False)
class Law:
    """A fitted law ``loss = constant + sum over k of scale_k / x_k ** exponent_k``.

    Attributes:
        best: constant, scales, exponents: [1 + 2K].
        resampled: the same for each bootstrap resample of the runs: [S, 1 + 2K].
        runs: R.
        error: root mean square of the runs' log(loss) less that of the fit: a relative error.
    """

    best: Array
    resampled: Array
    runs: int
    error: float

    @property
    def coefficients(self) -> list[Estimate]:
        """Constant, scales and exponents, in the order of ``best``."""
        return [self.estimate(value, self.resampled[:, i]) for i, value in enumerate(self.best)]

    def predict(self, *x: Sequence[float] | float) -> Array:
        """Return the losses at values of each x: [R]; one number counts for all."""
        return _losses(self.best, _columns(x))

    def band(self, *x: Sequence[float] | float) -> tuple[Array, Array]:
        """Return bounds of ``predict``.

        They are bounds of the law, without the noise of a single run, and assume that the form of the law holds.
        """
        sampled_SR = np.array([_losses(coefficients, _columns(x)) for coefficients in self.resampled])
        low, high = np.quantile(sampled_SR, _BOUNDS, axis=0)
        return low, high

    def estimate(self, best: float, sampled_S: Array) -> Estimate:
        """Return a quantity derived from the coefficients, with its percentile interval."""
        low, high = np.quantile(sampled_S, _BOUNDS)
        return Estimate(float(best), float(low), float(high), self.runs, float(np.std(sampled_S, ddof=1)))


@dataclass(frozen=True)
class Allocation:
    """The best use of a budget: model size, tokens and expected loss, with the uncertainty of the fit."""

    parameters: Estimate
    tokens: Estimate
    loss: Estimate


class ScalingLaw(Law):
    """The parametric scaling law ``L(N, D) = E + A / N^alpha + B / D^beta``; coefficients are E, A, B, alpha, beta.

    Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", equation 2.
    """

    def optimal(self, flops: float, flops_per_pair: float = 6.0) -> Allocation:
        """Return the model size and tokens that make the best use of ``flops = flops_per_pair * N * D`` (equation 4).

        Raises:
            UserError: the budget is not positive, or the fitted loss does not fall with both.
        """
        if not (math.isfinite(flops) and flops > 0):
            raise UserError(f"flops={flops}: must be positive")
        alpha, beta = self.best[3:]
        if not (alpha > 0 and beta > 0):
            raise UserError(f"no allocation is best: exponents are {alpha:.3g} and {beta:.3g}, not positive")
        product = flops / flops_per_pair
        with np.errstate(all="ignore"):  # resamples whose loss does not fall are left out
            best, sampled = (_allocation(c, product) for c in (self.best, self.resampled.T))
        possible = np.isfinite(sampled).all(axis=0) & (self.resampled[:, 3:] > 0).all(axis=1)
        return Allocation(*(self.estimate(float(b), s[possible]) for b, s in zip(best, sampled, strict=True)))


def scaling_law(parameters: Sequence[float], tokens: Sequence[float], loss: Sequence[float]) -> ScalingLaw:
    """Fit the parametric form to finished runs, with one value of each argument a run.

    Follows Hoffmann et al. 2022, section 3.3, equation 3: the Huber loss (delta 0.001) of the log, and the least of the
    minima reached from many starts. scipy's trust-region method descends from each until it converges, which matters:
    the published coefficients do not fit the runs of the paper's own figure, and their intervals are far too narrow
    (Besiroglu et al. 2024, "Chinchilla Scaling: A replication attempt"). Intervals here are percentiles of a bootstrap
    over runs. Measured with noise of 0.3 %, 60 draws each: nominal 95 % intervals of the coefficients cover 87 to 93 %
    with 3 x 3 runs and 93 to 95 % with 4 x 4; bands of predictions cover some 90 %.

    Runs must be complete: the loss in the middle of a learning-rate schedule is not a point of the law.

    Raises:
        UserError: fewer than seven runs, fewer than three sizes or amounts of tokens, too little between the least and
            the greatest, the two in a fixed ratio, or values that are not positive numbers.
    """
    return ScalingLaw(*_fitted({"parameters": parameters, "tokens": tokens}, loss))


def power_law(flops: Sequence[float], loss: Sequence[float]) -> Law:
    """Fit ``L(C) = c + a / C^b`` in the same way to the losses of the best runs for their budgets.

    Raises:
        UserError: fewer than five runs, fewer than three budgets, too little between the least and the greatest, or
            values that are not positive numbers.
    """
    return Law(*_fitted({"flops": flops}, loss))


def _fitted(x: dict[str, Sequence[float]], loss: Sequence[float]) -> tuple[Array, Array, int, float]:
    """Return the fields of a :class:`Law`, fitted from many starts, and again for each resample of the runs.

    It minimises the Huber loss of log(prediction) - log(loss).

    Args:
        x: the independent variables, by name, one value a run.
        loss: one a run.

    Raises:
        UserError: runs that cannot determine the coefficients; the message says why.
    """
    x_KR, loss_R = _checked(x, loss)
    logs_KR = np.log(x_KR)
    centre_K = logs_KR.mean(axis=1)  # there, scales and exponents hardly depend on each other
    problem = _Problem(logs_KR - centre_K[:, None], np.log(loss_R))
    best = min((problem.descend(start) for start in problem.starts()), key=lambda minimum: minimum[1])[0]
    draw = np.random.default_rng(0)
    sampled = [problem.resample(draw).descend(best)[0] for _ in range(RESAMPLES)]
    with np.errstate(over="ignore"):  # a resample may not determine a scale
        coefficients = [_coefficients(parameters, centre_K) for parameters in (best, *sampled)]
    error = float(np.sqrt(np.mean(problem.residuals(best) ** 2)))
    return coefficients[0], np.array(coefficients[1:]), len(loss_R), error


@dataclass(frozen=True, eq=False)
class _Problem:
    """The least-squares problem of a fit.

    Parameters are log(constant), log(scales) at the centre, exponents: [1 + 2K] (Hoffmann et al. 2022, appendix D.3).
    """

    logs_KR: Array
    target_R: Array

    def _terms(self, parameters: Array) -> Array:
        powers = len(self.logs_KR)
        falling = parameters[1 : 1 + powers, None] - parameters[1 + powers :, None] * self.logs_KR
        return np.concatenate([np.broadcast_to(parameters[0], (1, len(self.target_R))), falling])

    def residuals(self, parameters: Array) -> Array:
        return np.logaddexp.reduce(self._terms(parameters), axis=0) - self.target_R

    def _jacobian(self, parameters: Array) -> Array:
        terms = self._terms(parameters)
        parts = np.exp(terms - np.logaddexp.reduce(terms, axis=0))
        return np.concatenate([parts, -parts[1:] * self.logs_KR]).T

    def descend(self, start: Array) -> tuple[Array, float]:
        """Return the nearest minimum and its cost."""
        minimum = library("scipy.optimize").least_squares(
            self.residuals,
            start,
            self._jacobian,
            loss="huber",
            f_scale=DELTA,
            xtol=1e-10,
            ftol=1e-12,
            gtol=None,
            max_nfev=1000,
        )
        return minimum.x, float(minimum.cost)

    def starts(self) -> Iterator[Array]:
        """Yield the best starts of a grid of exponents; constant and scales follow by linear least squares."""
        runs, candidates = len(self.target_R), []
        for exponents in product(_EXPONENTS, repeat=len(self.logs_KR)):
            falling = np.exp(-np.array(exponents)[:, None] * self.logs_KR)
            relative = np.concatenate([np.ones((1, runs)), falling]) / np.exp(self.target_R)
            factors, _ = library("scipy.optimize").nnls(relative.T, np.ones(runs))
            candidates.append(np.r_[np.log(np.maximum(factors, 1e-3 * factors.max())), exponents])
        yield from sorted(candidates, key=lambda start: float(np.abs(self.residuals(start)).sum()))[:_STARTS]

    def resample(self, draw: np.random.Generator) -> "_Problem":
        """Draw as many runs with replacement, at least as many different ones as there are coefficients."""
        runs, least = len(self.target_R), 1 + 2 * len(self.logs_KR)
        while True:
            drawn = draw.integers(runs, size=runs)
            if len(np.unique(drawn)) >= least:
                return _Problem(self.logs_KR[:, drawn], self.target_R[drawn])


def _coefficients(parameters: Array, centre_K: Array) -> Array:
    powers = len(centre_K)
    exponents = parameters[1 + powers :]
    return np.r_[np.exp(parameters[0]), np.exp(parameters[1 : 1 + powers] + exponents * centre_K), exponents]


def _checked(x: dict[str, Sequence[float]], loss: Sequence[float]) -> tuple[Array, Array]:
    columns = {**x, "loss": loss}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"a scaling law needs one value a run of each of {', '.join(columns)}, not {lengths}")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    runs, coefficients = len(loss), 1 + 2 * len(x)
    if runs < coefficients + _SPARE:
        raise UserError(f"a scaling law of {coefficients} coefficients needs {coefficients + _SPARE} runs, not {runs}")
    for name, array in arrays.items():
        if not np.all(np.isfinite(array) & (array > 0)):
            wrong = int(np.flatnonzero(~(np.isfinite(array) & (array > 0)))[0])
            raise UserError(f"a scaling law needs positive numbers; {name} of run {wrong} is {array[wrong]}")
    for name in x:
        least, most = arrays[name].min(), arrays[name].max()
        different = len(np.unique(np.round(np.log(arrays[name]), 2)))
        if different < 3 or most < _SPREAD * least:
            raise UserError(
                f"a scaling law needs three values of {name} or more, the greatest {_SPREAD} times the least; "
                f"these runs have {different}, from {least:.3g} to {most:.3g}"
            )
    x_KR, loss_R = np.array([arrays[name] for name in x]), arrays["loss"]
    if np.ptp(loss_R) == 0:
        raise UserError(f"a scaling law needs runs that differ; the loss of all {runs} is {loss_R[0]:.6g}")
    together = np.corrcoef(np.log(x_KR)) if len(x) > 1 else np.eye(1)
    if np.max(np.abs(together - np.eye(len(x)))) > _CORRELATION:
        raise UserError(
            f"{' and '.join(x)} grow together in these runs, so their effects cannot be told apart: "
            "vary one while the other stays"
        )
    return x_KR, loss_R


def _losses(coefficients: Array, x_KR: Array) -> Array:
    """Return the losses that the law gives: [R]."""
    powers = len(x_KR)
    scales, exponents = coefficients[1 : 1 + powers], coefficients[1 + powers :]
    return coefficients[0] + scales @ x_KR ** -exponents[:, None]


def _columns(x: Sequence[Sequence[float] | float]) -> Array:
    return np.array(np.broadcast_arrays(*(np.atleast_1d(np.asarray(values, np.float64)) for values in x)))


def _allocation(coefficients: Any, product: float) -> Array:
    """Return parameters, tokens and loss, for coefficients [5] or [5, S]: [3] or [3, S]."""
    E, A, B, alpha, beta = coefficients
    balance = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    parameters = balance * product ** (beta / (alpha + beta))
    tokens = product / parameters
    return np.array([parameters, tokens, E + A / parameters**alpha + B / tokens**beta])
