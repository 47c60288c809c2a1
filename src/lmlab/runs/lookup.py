"""Find runs: the directory of a configuration, and the run that a user names by a path or the start of an id.

The paths that a run recorded are located also after the folder that contains both was moved.
"""

from collections.abc import Callable, Collection, Iterator
from glob import escape
from pathlib import Path
from typing import Any

from lmlab.config.experiment import Folders
from lmlab.config.identity import identity, paths_of
from lmlab.config.nodes import Config, at, set_at
from lmlab.errors import UserError, nearest
from lmlab.runs.run import Run
from lmlab.surroundings import expanded, matches


def all_runs(folder: Path) -> Iterator[Run]:
    """Yield every run directory directly below ``folder`` (``<outputs>/runs``), by name, without hidden ones."""
    for manifest in sorted(folder.glob("[!.]*/run.json")):
        yield Run(manifest.parent)


def directory_for(config: Config, copy: int = 1) -> Run:
    """Return the directory of the ``copy``-th computation of ``config``; copies above 1 are repetitions."""
    suffix = "" if copy == 1 else f"-{copy}"
    return Run(Folders.of(config["paths"]).runs / f"{config['name']}-{identity(config)}{suffix}")


def existing(config: Config) -> Run:
    """Return the directory of a run with the identity of ``config``, under any name, or the directory of a new one."""
    own = directory_for(config)
    if own.exists:
        return own
    same = sorted(Folders.of(config["paths"]).runs.glob(f"*-{identity(config)}/run.json"))
    return Run(same[0].parent) if same else own


def next_copy(config: Config, taken: Collection[Path] = ()) -> Run:
    """Return a directory for recomputing ``config``: the first unfinished repetition, or a new one.

    Args:
        taken: absolute directories of repetitions to skip.
    """
    copy = 2
    while (run := directory_for(config, copy)).path.absolute() in taken or (run.exists and run.status == "finished"):
        copy += 1
    return run


def repetition(config: Config, taken: Collection[Path] = ()) -> Run:
    """Return the directory in which ``rerun=true`` computes ``config``; an unfinished run is finished first.

    Args:
        taken: see :func:`next_copy`.
    """
    run = existing(config)
    return next_copy(config, taken) if run.is_finished or run.path.absolute() in taken else run


def copies(config: Config) -> Iterator[Run]:
    """Yield the existing repetitions of the run of ``config``."""
    run = directory_for(config)
    for manifest in sorted(run.path.parent.glob(f"{escape(run.path.name)}-*/run.json")):
        yield Run(manifest.parent)


def by_start(option: str, start: str, names: Collection[str], one: Callable[[str], str] = str) -> str | None:
    """Return the name equal to ``start``, or the only one that begins with it; ``None`` if there is none.

    Args:
        option: option that the message names.
        one: key function; names with equal keys count as one, represented by the first.

    Raises:
        UserError: several names begin with it.
    """
    fitting = [start] if start in names else sorted(name for name in names if name.startswith(start))
    if len({one(name) for name in fitting}) > 1:
        listed = ", ".join(fitting[:6]) + (f" and {len(fitting) - 6} more" if len(fitting) > 6 else "")
        raise UserError(f"{option}={start}: ambiguous, it is the start of {listed}; give more characters")
    return min(fitting, key=lambda name: (len(name), name), default=None)


def run_by_id(option: str, start: str, ids: Collection[str]) -> str | None:
    """Return the id that begins with ``start``; for a run and its repetitions, the first. See :func:`by_start`."""
    return by_start(option, start, ids, lambda run_id: run_id.partition("-")[0])


def find(run: str | None, folder: Path) -> Run:
    """Return the run that ``run`` names: a directory, its name in ``folder``, or an unambiguous start of an id.

    A start that matches a run and its own repetitions means the first of them.

    Raises:
        UserError: nothing matches, or several different runs do; the message lists the candidates.
    """
    if not run:
        raise UserError("run= has no value: give a run directory or the start of an id (lmlab runs lists them)")
    as_path = next((path for path in (expanded(run), folder / run) if path.is_dir()), None)
    if as_path is not None:
        match = Run(as_path.resolve())
        _ = match.manifest  # raises an error that describes what is wrong with the match
        return match
    runs: dict[str, Run] = {}
    for candidate in all_runs(folder):
        try:
            runs[candidate.id] = candidate
        except UserError:  # an unreadable run must not hide the others
            if f"-{run}" in candidate.path.name:
                raise
    if (run_id := run_by_id("run", run, runs)) is not None:
        return runs[run_id]
    hint = nearest(run, runs) if runs else f" ({folder} holds no runs)"
    raise UserError(f"run={run}: neither a directory nor the start of a run's id{hint}")


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
