"""The section ``start``: a finished run with whose weights, and optimizer state, another run begins.

The configuration names the parent by its identity, so the child's identity does not depend on the parent's location.
The child copies its initial state to its own directory and does not need the parent after that.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lmlab.config.experiment import Folders, Start, section_of
from lmlab.config.identity import identity
from lmlab.config.nodes import Config, at
from lmlab.errors import UserError
from lmlab.runs import checkpoints
from lmlab.runs.lookup import all_runs, existing, find
from lmlab.runs.run import Run
from lmlab.surroundings import expanded


def step_of(start: Start, parent: Run) -> int | None:
    """Return the step of the parent's checkpoint to begin with; ``None`` if ``checkpoint`` is a file of weights."""
    if start.checkpoint.isdecimal():
        return int(start.checkpoint)
    return max(checkpoints.saved(parent.checkpoints), default=0) if start.optimizer else None


def start_of(config: Config) -> Start:
    """Read the section ``start`` of a configuration. Raises ``UserError`` for a wrong option."""
    return section_of(config, "start", Start)


def identified(config: Config) -> Config:
    """Return ``config`` with the identity and location of the parent in its section ``start``.

    For a parent that is gone, those recorded by a run in ``paths.runs`` are used (see :func:`check_parent`).

    Raises:
        UserError: the parent does not exist, or is not finished.
    """
    start = start_of(config)
    if start.run is None:
        return config
    folder = Folders.of(config["paths"]).runs
    try:
        parent = find(start.directory or start.run, folder)
    except UserError as error:
        references = _recorded(start, folder)
        if len(references) == 1:
            return config | {"start": start.of_parent(**references[0])}
        raise UserError(f"start.{error}" if str(error).startswith("run=") else f"start.run: {error}") from error
    manifest, status = parent.manifest_and_status()
    if status != "finished":
        raise UserError(f"start.run={start.run}: {parent.path.name} is {status}; lmlab train finishes it")
    return config | {"start": start.of_parent(manifest["identity"], parent.path.absolute())}


def started_from(config: Config, parent: Config) -> Config:
    """Return ``config`` with the run of configuration ``parent``, which may be unfinished, as its parent.

    Args:
        parent: as :func:`lmlab.commands.located.located` returns it.
    """
    section = start_of(config).of_parent(identity(parent), existing(parent).path.absolute())
    return config | {"start": section}


def setting_of(config: Config, manifest: Mapping[str, Any]) -> str:
    """Return the identity of a run without its seed, which runs that differ only in the seed share."""
    parent = at(manifest, "start.setting")
    section = {} if parent is None else {"start": {**config["start"], "run": parent}}
    return identity({**config, "seed": 0, **section})


def ancestors(run: Run) -> list[Run]:
    """Return the existing runs from which ``run`` began, directly or indirectly, oldest first."""
    chain: list[Run] = []
    while (recorded := run.manifest.get("start")) is not None and recorded.get("directory"):
        place = Path(recorded["directory"])
        beside = run.path.absolute().parent / place.name  # both may have been moved together
        run = next((Run(path) for path in (beside, place) if Run(path).exists), Run(place))
        if not run.exists or run in chain:
            break
        chain.append(run)
    return chain[::-1]


def chain_of(run: Run) -> list[str]:
    """Return stage (if any) and id of the runs from which ``run`` began, oldest first, and its own."""
    runs = [*ancestors(run), run]
    names = [" ".join(filter(None, (one.manifest.get("stage"), one.id))) for one in runs]
    gone = runs[0].manifest.get("start")
    return [*([] if gone is None else [f"{gone['run']} (gone)"]), *names]


def check_parent(config: Config) -> None:
    """Refuse a new run whose parent is gone; an existing run has a copy of its initial state.

    Args:
        config: as :func:`identified` returns it, with the checksums of its content.

    Raises:
        UserError: the parent is gone.
    """
    start = start_of(config)
    if start.directory is None or Run(Path(start.directory)).exists or existing(config).exists:
        return
    raise UserError(f"start.run={start.run}: {start.directory} is gone, and this run needs it to begin")


def _recorded(start: Start, folder: Path) -> list[dict[str, str]]:
    """Return identity and location of the parents recorded by runs in ``folder`` that match ``start.run``."""
    parents: dict[str, dict[str, str]] = {}
    for run in all_runs(folder):
        with suppress(UserError):  # unreadable
            saved = start_of(run.config)
            if saved.run is not None and saved.directory is not None and _means(cast(str, start.run), saved):
                parents[saved.run] = {"run": saved.run, "directory": saved.directory}
    return list(parents.values())


def _means(word: str, saved: Start) -> bool:
    """Return whether ``start.run`` matches the parent of a saved configuration."""
    place = Path(cast(str, saved.directory))
    return cast(str, saved.run).startswith(word) or word == place.name or expanded(word).absolute() == place
