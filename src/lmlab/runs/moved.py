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
    config["paths"] = {key: new_place(run, config, value) for key, value in config.get("paths", {}).items()}
    if "paths" in config.get("data", {}):
        config["data"]["paths"] = new_place(run, config, config["data"]["paths"])
    return config


def directory_here(run: Run) -> Path:
    """Return the folder that ``run`` was asked for in, where it is now."""
    return Path(new_place(run, run.config, run.manifest["provenance"]["directory"]))


def new_place(run: Run, config: Config, place: Any) -> Any:
    """Return where an absolute path is now, if it is gone and moved along with the run; in lists and sections, each."""
    if isinstance(place, dict):
        return {key: new_place(run, config, value) for key, value in place.items()}
    if isinstance(place, list):
        return [new_place(run, config, value) for value in place]
    if not isinstance(place, str) or not Path(place).is_absolute() or Path(place).exists():
        return place
    roots = _roots(run, config)
    if roots is None or not Path(place).is_relative_to(roots[0]):
        return place
    return str(roots[1] / Path(place).relative_to(roots[0]))


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
