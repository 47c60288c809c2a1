"""Locate the paths that a run recorded, after the folder that contains both was moved."""

from pathlib import Path
from typing import Any

from lmlab.config.experiment import Folders
from lmlab.config.identity import paths_of
from lmlab.config.nodes import Config, at, set_at
from lmlab.runs.run import Run
from lmlab.surroundings import matches


def config_here(run: Run) -> Config:
    """Return the saved configuration of ``run`` with the current locations of ``paths`` and of the user's own files.

    Paths that still exist stay the same.
    """
    config = run.config
    roots = _roots(run, config)
    config["paths"] = _moved(config.get("paths", {}), roots)
    for option in paths_of(config):
        if (place := at(config, option)) is not None:
            set_at(config, option, _moved(place, roots))
    return config


def directory_here(run: Run) -> Path:
    """Return the current location of the folder in which ``run`` was launched."""
    return Path(_moved(run.manifest["provenance"]["directory"], _roots(run, run.config)))


def _moved(place: Any, roots: tuple[Path, Path] | None) -> Any:
    """Return the current location of a missing absolute path below the first root; recurse into containers."""
    if isinstance(place, dict):
        return {key: _moved(value, roots) for key, value in place.items()}
    if isinstance(place, list):
        return [_moved(value, roots) for value in place]
    if not isinstance(place, str) or roots is None:
        return place
    path = Path(place)
    if not path.is_absolute() or not path.is_relative_to(roots[0]) or matches(path):
        return place
    return str(roots[1] / path.relative_to(roots[0]))


def _roots(run: Run, config: Config) -> tuple[Path, Path] | None:
    """Return the old and new path of the moved folder; ``None`` if the run was not moved.

    It is the outermost folder that the old and new path of the run have in common, counted from their ends.
    """
    directory = at(run.manifest, "provenance.directory")
    if directory is None:
        return None
    old, new = Path(directory, Folders.of(config["paths"]).runs), run.path.absolute().parent
    if old == new or old.name != new.name:
        return None
    while old.name == new.name and old.name:
        old, new = old.parent, new.parent
    return old, new
