"""Which of several is beaten by none?"""

from collections.abc import Sequence

import numpy as np

from lmlab.errors import UserError


def front(points: Sequence[Sequence[float]], minimize: Sequence[bool]) -> list[int]:
    """The points that no other dominates, in the order given.

    A point dominates another if it is at least as good in every objective and better in one, so equal points are on the
    front together. A point with a nan is not known well enough to be on it, and dominates none.

    Args:
        points: [N][K].
        minimize: [K]: is less better?

    Raises:
        UserError: a point without a value for each objective.
    """
    for point in points:
        if len(point) != len(minimize):
            raise UserError(f"a point of {len(minimize)} objectives has {len(point)} values: {list(point)}")
    costs = np.array(points, dtype=np.float64).reshape(len(points), len(minimize))
    costs = np.where(minimize, costs, -costs)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    order = known[np.lexsort(costs[known].T[::-1])]  # what dominates a point comes before it
    found: list[int] = []
    for index in order.tolist():
        others = costs[found]
        dominated = (others <= costs[index]).all(axis=1) & (others < costs[index]).any(axis=1)
        if not dominated.any():
            found.append(index)
    return sorted(found)
