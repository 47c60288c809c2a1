"""Every combination."""

from lmlab.sweeps.search.search import Proposal, Queue
from lmlab.sweeps.search.space import Space


class Grid(Queue):
    """Every combination of the values; the option named last varies fastest.

    Args:
        space: the search space; supplied by the sweep.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(Proposal(number, job) for number, job in enumerate(space.combinations()))
