"""Searches whose jobs are known in advance: every combination, or random draws."""

from lmlab.sweeps.search.search import Proposal, Queue, check_trials
from lmlab.sweeps.search.space import Space


class Grid(Queue):
    """Every combination of the values; the option named last varies fastest.

    Args:
        space: the search space; supplied by the sweep.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(Proposal(number, job) for number, job in enumerate(space.combinations()))


class Random(Queue):
    """Random search (Bergstra & Bengio 2012): each option drawn independently from its list, range or interval.

    Job *n* depends on (seed, n) alone, so more trials continue the sequence. For any number of jobs, the values are
    spread over intervals and fall equally often on the values of lists.

    Args:
        trials: number of jobs.
        seed: of the draws.
        space: the search space; supplied by the sweep.
    """

    def __init__(self, space: Space, trials: int = 20, seed: int = 1) -> None:
        check_trials(trials, space)
        super().__init__(Proposal(number, space.draw(seed, number)) for number in range(trials))
