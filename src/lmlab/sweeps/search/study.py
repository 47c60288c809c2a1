"""The jobs of a study: pilots if budgets are in seconds, the same trials for every arm, the best with all seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.errors import UserError, nearest
from lmlab.metrics import Better, cost
from lmlab.sweeps.search.search import Outcome, Phase, Proposal, Queue

if TYPE_CHECKING:
    from lmlab.sweeps.study import Study

PILOT_STEPS = 50
"""Optimizer steps of a pilot: enough that the slow first steps do not dominate its speed."""


@dataclass(frozen=True)
class Pilot:
    """A short run that measures an arm's speed: the arm's overrides, and the tokens in an optimizer step."""

    overrides: Sequence[str]
    tokens_per_step: int


class StudySearch(Queue):
    """A study's jobs, in three phases.

    *Pilots*, if the budget is in seconds: an untuned run of ``PILOT_STEPS`` steps of each arm; its tokens per second
    times the seconds are the token budget of the arm's other runs. *Trials*: candidate *k* of every arm,
    all with the tuning seed; skipped if there is one candidate. *Final* runs: the candidate of each arm with the
    best score, with every seed; they begin when all trials of the arm have ended. A trial that failed or diverged is
    worse than any other; among equals the earlier one wins. An arm without successful trials has no final runs.

    A job's number depends on its phase, candidate or seed, and arm alone: the jobs of a phase are numbered by
    candidate or seed, and within it by arm.

    Args:
        study: seeds and budget.
        candidates: by arm, the overrides of all candidates, without the seed.
        pilots: by arm, if the budget is in seconds.
        metric: metric by which candidates are selected.
        better: direction in which the metric is better.
    """

    def __init__(
        self,
        study: "Study",
        candidates: Mapping[str, Sequence[list[str]]],
        pilots: Mapping[str, Pilot] | None,
        metric: str,
        better: Better,
    ) -> None:
        super().__init__()
        self.metric, self.better = metric, better
        self.study, self.candidates, self.pilots = study, candidates, pilots or {}
        self.trials = {arm: len(own) if len(own) > 1 else 0 for arm, own in candidates.items()}
        """Number of trials of each arm; 0 if it has a single candidate."""
        self.winners: dict[str, int] = {}
        """The best candidate by arm, once it is determined."""
        self._arms = list(candidates)
        self._first_trial = len(self.pilots)
        self._first_final = self._first_trial + sum(self.trials.values())
        tried = ((k, arm) for k in range(max(self.trials.values())) for arm in self._arms if k < self.trials[arm])
        self._trial_of = dict(enumerate(tried, self._first_trial))
        """Candidate and arm of every trial, by its number."""
        self._tokens: dict[str, int] = {}
        self._costs: dict[str, dict[int, float]] = {arm: {} for arm in self._arms}
        for arm, pilot in self.pilots.items():
            words = [f"budget.tokens={PILOT_STEPS * pilot.tokens_per_step}", "validation.times=1"]
            self._put(self._arms.index(arm), [*pilot.overrides, *words], arm, "pilot", study.tuning_seed)
        if not self.pilots:
            self._begin_trials()

    @property
    def total(self) -> int:
        failed = [
            arm
            for arm, trials in self.trials.items()
            if len(self._costs[arm]) == trials > 0 and arm not in self.winners
        ]
        return sum(self.counts.values()) - len(failed) * len(self.study.seeds)

    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        """Receive the outcome of a job.

        Raises:
            UserError: a pilot failed, so its arm has no budget; or a finished run lacks the metric.
        """
        if not self.settle(proposal, outcome):
            return
        arm = proposal.arm
        assert arm is not None
        if proposal.phase == "pilot":
            self._measure(arm, metrics, run)
            if len(self._tokens) == len(self._arms):
                self._begin_trials()
            return
        if outcome == "finished" and self.metric not in metrics:
            where = f" ({run})" if run is not None else ""
            measured = [name for name in metrics if not name.startswith("timings/")]
            hint = nearest(self.metric, measured)
            raise UserError(f"study.metric={self.metric}: a finished run has no such metric{hint}{where}")
        if proposal.phase == "trial":
            candidate, _ = self._trial_of[proposal.number]
            costs = self._costs[arm]
            costs[candidate] = cost(metrics.get(self.metric) if outcome == "finished" else None, self.better)
            if len(costs) == self.trials[arm]:
                best = min(costs, key=lambda number: (costs[number], number))
                if costs[best] < float("inf"):
                    self._choose(arm, best)

    def best(self) -> list[int]:
        """Return the selected trial of each arm, or its first final run if there were no trials."""
        numbers = {trial: number for number, trial in self._trial_of.items()}
        return [
            numbers.get((best, arm), self._first_final + self._arms.index(arm)) for arm, best in self.winners.items()
        ]

    @property
    def counts(self) -> dict[Phase, int]:
        """Number of jobs of each phase."""
        arms, trials = len(self._arms), sum(self.trials.values())
        return {"pilot": len(self.pilots), "trial": trials, "final": arms * len(self.study.seeds)}

    def _measure(self, arm: str, metrics: Mapping[str, float], run: Path | None) -> None:
        assert self.study.budget is not None
        seconds, per_step = self.study.budget["seconds"], self.pilots[arm].tokens_per_step
        speed = metrics.get("timings/tokens_per_second")
        if not speed:
            raise UserError(
                f"study.budget.seconds={seconds}: the pilot run of {arm}, which determines the number of tokens, failed"
                + (f" ({run})" if run is not None else "")
            )
        self._tokens[arm] = max(1, int(seconds * speed / per_step)) * per_step

    def _begin_trials(self) -> None:
        for arm in self._arms:
            if not self.trials[arm]:
                self._choose(arm, 0)
        for number, (candidate, arm) in self._trial_of.items():
            self._put(number, self._overrides(arm, candidate), arm, "trial", self.study.tuning_seed)

    def _choose(self, arm: str, candidate: int) -> None:
        self.winners[arm] = candidate
        for index, seed in enumerate(self.study.seeds):
            number = self._first_final + len(self._arms) * index + self._arms.index(arm)
            self._put(number, self._overrides(arm, candidate), arm, "final", seed)

    def _overrides(self, arm: str, candidate: int) -> list[str]:
        budget = [f"budget.tokens={self._tokens[arm]}"] if self.pilots else []
        return [*self.candidates[arm][candidate], *budget]

    def _put(self, number: int, words: list[str], arm: str, phase: Phase, seed: int) -> None:
        self.put(Proposal(number, [*words, f"seed={seed}"], arm, phase))
