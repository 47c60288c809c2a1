"""Jobs drawn at random."""

from lmlab.sweeps.search.search import Proposal, Queue, check_trials
from lmlab.sweeps.search.space import Space


class Random(Queue):
    """Random search (Bergstra & Bengio 2012): each option drawn by itself from its list, range or interval.

    Job *n* follows from (seed, n) alone: more trials go on where fewer ended. However many there are, they are spread
    over intervals and fall equally often on the values of lists.

    Args:
        trials: how many jobs.
        seed: of the draws.
        space: what is varied; supplied by the sweep.
    """

    def __init__(self, space: Space, trials: int = 20, seed: int = 1) -> None:
        check_trials(trials)
        super().__init__(Proposal(number, space.draw(seed, number)) for number in range(trials))
