"""Searches, which select the jobs of a sweep."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.metrics import Measures
from lmlab.sweeps.search.grid import Grid, Random
from lmlab.sweeps.search.halving import Halving
from lmlab.sweeps.search.search import Outcome, Proposal, Search
from lmlab.sweeps.search.space import Space

__all__ = ["Grid", "Halving", "Outcome", "Proposal", "Random", "Search", "Space", "make"]


def make(section: Mapping[str, Any] | None, space: Space, folder: Path, measures: Callable[[], Measures]) -> Search:
    """Build the search that the section ``sweep`` of a configuration describes; without a section, every combination.

    Args:
        folder: the sweep's own directory.
        measures: returns the metrics of the sweep's runs, which may require reading their data.

    Raises:
        UserError: an unknown option, or a space that the search does not support.
    """
    if section is None:
        return Grid(space)
    validate({"sweep": section})
    search = build(section, space=space, folder=folder, measures=measures)
    assert isinstance(search, Search)
    return search
