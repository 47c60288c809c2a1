"""The interface between a search and the loop that launches its jobs."""

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab.errors import UserError
from lmlab.metrics import Measures, cost
from lmlab.runs.run import Run

if TYPE_CHECKING:
    from lmlab.sweeps.search.space import Space

Outcome = Literal["finished", "failed", "pruned", "interrupted"]
Phase = Literal["pilot", "trial", "final"]
"""Purpose of a job in a study: measuring speed, tuning, or the conclusion."""


MOST = 1_000_000
"""Maximum number of jobs of a sweep; all are drawn before the first begins."""


def check_trials(trials: int, space: "Space") -> None:
    """Refuse an invalid number of jobs, or several equal ones. Raises ``UserError``."""
    if not 1 <= trials <= MOST:
        raise UserError(f"sweep.trials={trials}: expected at least 1 and at most {MOST}")
    if trials > 1 and not space.varied:
        raise UserError(
            f"sweep.trials={trials}: no option varies, so all jobs would be the same; give one several values, or an "
            "interval as 'optimizer.lr=interval(1e-4,1e-2)'"
        )


@dataclass(frozen=True)
class Proposal:
    """A job to launch: its number in the sweep, from 0, and its overrides.

    Attributes:
        arm: arm of a study that the job belongs to.
        phase: purpose of the job in a study.
    """

    number: int
    overrides: list[str]
    arm: str | None = None
    phase: Phase | None = None


class Search(ABC):
    """Selects the jobs of a sweep: proposes the next one, and learns its progress and outcome.

    A repeated sweep proposes the same jobs; outcomes of finished ones are reported at once, from their records.
    """

    warning: str | None = None
    """A message about an option without effect in this search, shown before the sweep begins."""

    @abstractmethod
    def ask(self) -> Proposal | None:
        """Return the next job to launch; ``None`` if there is none right now."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Return whether no job is running and none will follow."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of jobs in the whole sweep, as far as is known."""

    def to_come(self, begun: Collection[int]) -> int:
        """Return how many jobs it will still propose besides those with the numbers ``begun``, as far as is known."""
        return max(0, self.total - len(begun))

    def upcoming(self) -> list[Proposal]:
        """Return the jobs that it would propose next, as far as they follow from the outcomes so far."""
        return []

    def watch(self, proposal: Proposal, rows: list[dict[str, Any]]) -> str | None:
        """Receive new rows of a job's ``metrics.jsonl``, from the first on; return a reason to stop the job, if any.

        The rows of finished jobs are passed too, for comparison with others; the return value is then ignored.
        """
        return None

    @abstractmethod
    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        """Receive the outcome of a job; an interrupted one is proposed again.

        Args:
            metrics: metrics of the finished run, by name.
            run: run directory, which a finished run has.
        """

    @abstractmethod
    def best(self) -> list[int]:
        """Return the numbers of the best finished jobs so far: one, or the Pareto front of several objectives."""


class Queue(Search):
    """A search with a queue of jobs, in the order of their numbers; the run directories alone outlive its process.

    Jobs are compared by the primary metric of the first run that finishes, normally that of all runs.
    """

    def __init__(self, proposals: Iterable[Proposal] = ()) -> None:
        self.waiting = [(proposal.number, proposal) for proposal in proposals]
        """A heap of the jobs that wait, by number."""
        heapq.heapify(self.waiting)
        self.running: dict[int, Proposal] = {}
        self.costs: dict[int, float] = {}
        """Cost of every ended job: its metric, negated if higher is better; infinite if it failed or diverged."""
        self._measures: Measures | None = None

    def ask(self) -> Proposal | None:
        if not self.waiting:
            return None
        number, proposal = heapq.heappop(self.waiting)
        self.running[number] = proposal
        return proposal

    def put(self, proposal: Proposal) -> None:
        """Add a job to the queue."""
        heapq.heappush(self.waiting, (proposal.number, proposal))

    def settle(self, proposal: Proposal, outcome: Outcome) -> bool:
        """Remove a job from the running ones and return whether it has ended; an interrupted one is queued again."""
        del self.running[proposal.number]
        if outcome == "interrupted":
            self.put(proposal)
        return outcome != "interrupted"

    def upcoming(self) -> list[Proposal]:
        return [proposal for _, proposal in sorted(self.waiting)]

    @property
    def done(self) -> bool:
        return not self.waiting and not self.running

    @property
    def total(self) -> int:
        return len(self.waiting) + len(self.running) + len(self.costs)

    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        if not self.settle(proposal, outcome):
            return
        self.costs[proposal.number] = math.inf
        if outcome == "finished" and run is not None:
            measures = self._measures = self._measures or Run(run).measures
            self.costs[proposal.number] = cost(metrics.get(measures.primary), measures.better(measures.primary))

    def best(self) -> list[int]:
        return self.ranked(self.costs)[:1]

    def ranked(self, numbers: Iterable[int]) -> list[int]:
        """Return the jobs with a finite metric, best first; ties in order of number."""
        return sorted(
            (number for number in numbers if math.isfinite(self.costs[number])),
            key=lambda number: (self.costs[number], number),
        )
