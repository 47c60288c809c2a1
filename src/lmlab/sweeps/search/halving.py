"""Successive halving over complete runs."""

import math
from pathlib import Path

from lmlab.errors import UserError, check_least
from lmlab.sweeps.search.search import Outcome, Proposal, Queue, check_trials
from lmlab.sweeps.search.space import Space

BUDGET = "budget.tokens"


class Halving(Queue):
    """Successive halving (Jamieson & Talwalkar 2016): many jobs on few tokens, then the best on more.

    Of the *n* jobs at the start, rung *r* computes the best ``n // factor**r`` on ``tokens * factor**r`` tokens. Every
    job is a complete run with a learning-rate schedule for that rung's budget: losses in the middle of a schedule say
    little about those at its end. A rung starts when all jobs of the rung below have ended.

    Args:
        tokens: training tokens of a run of the first rung.
        trials: jobs of the first rung, drawn at random; ``None``: every combination.
        seed: of the draws.
        factor: ratio of tokens, and inverse ratio of jobs, between successive rungs.
        rungs: maximum number of rungs; ``None``: until fewer than ``factor`` jobs are left.
        space: the search space; supplied by the sweep.
    """

    def __init__(
        self,
        space: Space,
        tokens: int,
        trials: int | None = 27,
        seed: int = 1,
        factor: int = 3,
        rungs: int | None = None,
    ) -> None:
        check_least(1, "sweep.", tokens=tokens, rungs=rungs)
        check_least(2, "sweep.", factor=factor)
        if any(word.lstrip("+").startswith(f"{BUDGET}=") for word in space.fixed) or any(
            option.key.lstrip("+") == BUDGET for option in space.varied
        ):
            raise UserError(f"{BUDGET}: set by sweep=halving itself; give sweep.tokens, the tokens of the first rung")
        if trials is None:
            self._jobs = dict(enumerate(space.combinations()))
        else:
            check_trials(trials, space)
            self._jobs = {number: space.draw(seed, number) for number in range(trials)}
        self._tokens, self._factor = tokens, factor
        self._sizes = [len(self._jobs)]
        while self._sizes[-1] >= factor and (rungs is None or len(self._sizes) < rungs):
            self._sizes.append(self._sizes[-1] // factor)
        self._rung, self._first = 0, 0
        super().__init__()
        self._start(list(self._jobs.values()))

    @property
    def total(self) -> int:
        """Number of jobs, assuming that unfinished jobs succeed: failed jobs do not reach the next rung."""
        failed = sum(number >= self._first and math.isinf(cost) for number, cost in self.costs.items())
        left = self._in_rung - failed
        return super().total + sum(min(size, left) for size in self._sizes[self._rung + 1 :])

    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        super().tell(proposal, outcome, metrics, run)
        if not self.waiting and not self.running and self._rung + 1 < len(self._sizes):
            best = self._ranked_here()
            self._first += self._sizes[self._rung]
            self._rung += 1
            self._start([self._jobs[number] for number in best[: self._sizes[self._rung]]])

    def best(self) -> list[int]:
        """Return the best job of the highest rung with results; results on fewer tokens are not comparable."""
        highest = self._ranked_here()
        if not highest and self._rung:
            first = self._first - self._sizes[self._rung - 1]
            highest = self.ranked(number for number in self.costs if first <= number < self._first)
        return highest[:1]

    def _ranked_here(self) -> list[int]:
        return self.ranked(number for number in self.costs if number >= self._first)

    def _start(self, jobs: list[list[str]]) -> None:
        """Queue the jobs of the current rung. A job's number does not depend on failures in lower rungs."""
        self._in_rung = len(jobs)
        budget = f"{BUDGET}={self._tokens * self._factor**self._rung}"
        for number, job in enumerate(jobs, self._first):
            self._jobs[number] = job
            self.put(Proposal(number, [*job, budget]))
