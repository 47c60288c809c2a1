"""Pareto front: the points that no other point dominates."""

from collections.abc import Sequence

import numpy as np

from lmlab.errors import UserError


def front(points: Sequence[Sequence[float]], minimize: Sequence[bool]) -> list[int]:
    """Return the indices of the points that no other point dominates, in ascending order.

    A point dominates another if it is at least as good in every objective and better in one, so equal points are on the
    front together. A point with a nan is not on the front, and dominates none.

    Args:
        points: [N][K].
        minimize: [K]: True where lower is better.

    Raises:
        UserError: a point does not have one value for each objective.
    """
    for point in points:
        if len(point) != len(minimize):
            raise UserError(f"a point of {len(minimize)} objectives has {len(point)} values: {list(point)}")
    costs = np.array(points, dtype=np.float64).reshape(len(points), len(minimize))
    costs = np.where(minimize, costs, -costs)
    complete = np.flatnonzero(~np.isnan(costs).any(axis=1))
    order = complete[np.lexsort(costs[complete].T[::-1])]  # what dominates a point comes before it
    indices: list[int] = []
    for index in order.tolist():
        others = costs[indices]
        dominated = (others <= costs[index]).all(axis=1) & (others < costs[index]).any(axis=1)
        if not dominated.any():
            indices.append(index)
    return sorted(indices)
