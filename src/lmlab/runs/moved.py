"""Find what a run names by its place after the folder that holds both was moved."""

from pathlib import Path
from typing import Any

from lmlab.config import Config
from lmlab.runs.run import Run


def config_here(run: Run) -> Config:
    """Return the saved configuration of ``run`` with its absolute places as they are now: ``paths`` and ``data.paths``.

    A place that is still there stays as it is.
    """
    config = run.config
    roots = _roots(run, config)
    config["paths"] = _moved(config.get("paths", {}), roots)
    if "paths" in config.get("data", {}):
        config["data"]["paths"] = _moved(config["data"]["paths"], roots)
    return config


def directory_here(run: Run) -> Path:
    """Return the folder that ``run`` was asked for in, where it is now."""
    return Path(_moved(run.manifest["provenance"]["directory"], _roots(run, run.config)))


def _moved(place: Any, roots: tuple[Path, Path] | None) -> Any:
    """Return where an absolute path is now, if it is gone and lay below the first root; in lists and sections, each."""
    if isinstance(place, dict):
        return {key: _moved(value, roots) for key, value in place.items()}
    if isinstance(place, list):
        return [_moved(value, roots) for value in place]
    if not isinstance(place, str) or roots is None:
        return place
    path = Path(place)
    if not path.is_absolute() or not path.is_relative_to(roots[0]) or path.exists():
        return place
    return str(roots[1] / path.relative_to(roots[0]))


def _roots(run: Run, config: Config) -> tuple[Path, Path] | None:
    """Return the folder that was moved, as it was named and as it is named now; ``None``: the run has not moved.

    It is the outermost one that the two places of the run have in common, from their end.
    """
    directory = run.manifest.get("provenance", {}).get("directory")
    if directory is None:
        return None
    old, new = Path(directory, config["paths"]["runs"]), run.path.absolute().parent
    if old == new or old.name != new.name:
        return None
    while old.name == new.name and old.name:
        old, new = old.parent, new.parent
    return old, new
