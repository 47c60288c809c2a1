"""Which jobs a sweep computes next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmlab.config import build, validate
from lmlab.sweeps.search.grid import Grid
from lmlab.sweeps.search.halving import Halving
from lmlab.sweeps.search.random import Random
from lmlab.sweeps.search.search import Outcome, Proposal, Search
from lmlab.sweeps.search.space import Space
from lmlab.targets import accepted

__all__ = ["Grid", "Halving", "Outcome", "Proposal", "Random", "Search", "Space", "make"]


def make(section: Mapping[str, Any] | None, space: Space, folder: Path) -> Search:
    """Build the search that the section ``sweep`` of a configuration describes; without one, every combination.

    Args:
        folder: the sweep's own directory.

    Raises:
        UserError: an option that the search does not have, or a space that it cannot search.
    """
    if section is None:
        return Grid(space)
    validate({"sweep": section})
    search = build(section, **accepted(section, {"space": space, "folder": folder}))
    assert isinstance(search, Search)
    return search
