"""The contract between a search and the loop that launches its jobs."""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmlab.errors import UserError
from lmlab.metrics import Measures, cost
from lmlab.runs.run import Run

Outcome = Literal["finished", "failed", "pruned", "interrupted"]
Phase = Literal["pilot", "trial", "final"]
"""What a job of a study is for: measuring speed, tuning, or the conclusion."""


MOST = 1_000_000
"""Jobs of a sweep, which are all drawn before the first begins."""


def check_trials(trials: int) -> None:
    """Refuse a number of jobs that no sweep has. Raises ``UserError``."""
    if not 1 <= trials <= MOST:
        raise UserError(f"sweep.trials={trials}: expected at least 1 and at most {MOST}")


@dataclass(frozen=True)
class Proposal:
    """A job to launch: its number in the sweep, from 0, and what it changes in the configuration.

    Attributes:
        arm: of a study, which side of it the job belongs to.
        phase: of a study, what the job is for.
    """

    number: int
    overrides: list[str]
    arm: str | None = None
    phase: Phase | None = None


class Search(ABC):
    """Decides which jobs a sweep computes: asked for the next one, told how each goes and how it ended.

    A sweep that is asked for again proposes the same jobs; those that are finished are told at once, from their record.
    """

    warning: str | None = None
    """An option that can have no effect in this search, in one line; to be shown before it begins."""

    @abstractmethod
    def ask(self) -> Proposal | None:
        """The next job to launch; ``None`` if there is none right now."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is under way and nothing will come any more."""

    @property
    @abstractmethod
    def total(self) -> int:
        """How many jobs there will have been in the end, as far as is known."""

    def to_come(self, begun: Collection[int]) -> int:
        """How many jobs it will still ask for beyond those of the numbers ``begun``, as far as is known."""
        return max(0, self.total - len(begun))

    def upcoming(self) -> list[Proposal]:
        """The jobs that it would propose next, as far as they follow from what has ended so far."""
        return []

    def watch(self, proposal: Proposal, rows: list[dict[str, Any]]) -> str | None:
        """Take note of new rows of a job's ``metrics.jsonl``, from its first row on; return why to stop it, if so.

        The rows of a job whose run is finished already are shown as well, for others to be compared with; it has
        nothing to stop.
        """
        return None

    @abstractmethod
    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        """Take note of how a job ended; one that was interrupted is proposed again.

        Args:
            metrics: of the finished run, by name.
            run: its directory, which a finished run has.
        """

    @abstractmethod
    def best(self) -> list[int]:
        """The numbers of the best finished jobs so far: one, or several of which none is better in all objectives."""


class Queue(Search):
    """A search whose jobs wait in a line; it remembers nothing beyond this process, because the runs do.

    Jobs are compared by the primary metric of the first run that finishes, which as a rule is that of all.
    """

    def __init__(self, proposals: Iterable[Proposal]) -> None:
        self.waiting = deque(proposals)
        self.running: dict[int, Proposal] = {}
        self.costs: dict[int, float] = {}
        """The metric of every job that ended, turned so that less is better; infinite if it failed or diverged."""
        self._measures: Measures | None = None

    def ask(self) -> Proposal | None:
        if not self.waiting:
            return None
        proposal = self.waiting.popleft()
        self.running[proposal.number] = proposal
        return proposal

    def upcoming(self) -> list[Proposal]:
        return list(self.waiting)

    @property
    def done(self) -> bool:
        return not self.waiting and not self.running

    @property
    def total(self) -> int:
        return len(self.waiting) + len(self.running) + len(self.costs)

    def tell(self, proposal: Proposal, outcome: Outcome, metrics: dict[str, float], run: Path | None = None) -> None:
        del self.running[proposal.number]
        if outcome == "interrupted":
            self.waiting.appendleft(proposal)
            return
        self.costs[proposal.number] = math.inf
        if outcome == "finished" and run is not None:
            measures = self._measures = self._measures or Run(run).measures
            self.costs[proposal.number] = cost(metrics.get(measures.primary), measures.better(measures.primary))

    def best(self) -> list[int]:
        return self.ranked(self.costs)[:1]

    def ranked(self, numbers: Iterable[int]) -> list[int]:
        """Those of the jobs that have a finite metric, best first; of equal ones the earlier."""
        return sorted(
            (number for number in numbers if math.isfinite(self.costs[number])),
            key=lambda number: (self.costs[number], number),
        )
