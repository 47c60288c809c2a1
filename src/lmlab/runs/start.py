"""The section ``start``: a finished run whose weights, and optimizer state, another one begins with.

The configuration names the parent by its identity, so the child's identity does not depend on where the parent lies.
The child keeps what it begins with in its own directory and needs the parent no more once it exists.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lmlab.config import Config, check_arguments
from lmlab.errors import UserError, nearest
from lmlab.runs import checkpoints
from lmlab.runs.lookup import all_runs, existing, find
from lmlab.runs.run import Run
from lmlab.surroundings import expanded

CHECKPOINTS = ("final", "best", "ema")
"""Weights of a run that are files of their own."""


@dataclass(frozen=True)
class Start:
    """Section ``start`` of a training configuration.

    Args:
        run: the parent: a directory, or the start of an id; in a saved configuration its identity. ``None``: there is
            none, the weights are drawn.
        checkpoint: ``final``, ``best``, ``ema``, or the step of a checkpoint.
        optimizer: also begin with the state of the parent's optimizer.
        directory: where the parent lay; filled in.
    """

    run: str | None = None
    checkpoint: str = "final"
    optimizer: bool = False
    directory: str | None = None

    @classmethod
    def of(cls, config: Config) -> "Start":
        """Read a configuration. Raises ``UserError`` for an unknown option, a wrong type or an unknown checkpoint."""
        section = config.get("start") or {}
        check_arguments(cls, section, "start.")
        start = cls(**section)
        if start.checkpoint not in CHECKPOINTS and not start.checkpoint.isdecimal():
            choices = [*CHECKPOINTS, "the step of a checkpoint"]
            raise UserError(f"start.checkpoint={start.checkpoint}: unknown{nearest(start.checkpoint, choices)}")
        if start.optimizer and start.checkpoint in ("best", "ema"):
            raise UserError(
                f"start.optimizer=true: there is no optimizer state with start.checkpoint={start.checkpoint} "
                "(choose final, or the step of a checkpoint)"
            )
        return start

    def step(self, parent: Run) -> int | None:
        """Return the step of the checkpoint that is begun with; ``None``: it is a file of weights."""
        if self.checkpoint.isdecimal():
            return int(self.checkpoint)
        return max(checkpoints.saved(parent.checkpoints), default=0) if self.optimizer else None


def identified(config: Config) -> Config:
    """Return ``config`` with the parent that its section ``start`` names by its identity, and where that lies.

    A parent that is gone is the one that a run in ``paths.runs`` recorded (see :func:`check_parent`).

    Raises:
        UserError: there is no such run, or it is not finished.
    """
    start = Start.of(config)
    if start.run is None:
        return config
    try:
        parent = find(start.directory or start.run, Path(config["paths"]["runs"]))
    except UserError as error:
        references = _recorded(start, Path(config["paths"]["runs"]))
        if len(references) == 1:
            return config | {"start": {"checkpoint": start.checkpoint, "optimizer": start.optimizer} | references[0]}
        raise UserError(f"start.{error}" if str(error).startswith("run=") else f"start.run: {error}") from error
    manifest, status = parent.manifest_and_status()
    if status != "finished":
        raise UserError(f"start.run={start.run}: {parent.path.name} is {status}; lmlab train finishes it")
    reference = {"run": manifest["identity"], "directory": str(parent.path.absolute())}
    return config | {"start": {"checkpoint": start.checkpoint, "optimizer": start.optimizer} | reference}


def check_parent(config: Config) -> None:
    """Refuse a run that has yet to begin and whose parent is gone; one that exists keeps what it began with.

    Args:
        config: of :func:`identified`, and with the checksums of what it names.

    Raises:
        UserError: the parent is gone.
    """
    start = Start.of(config)
    if start.directory is None or Run(Path(start.directory)).exists or existing(config).exists:
        return
    raise UserError(f"start.run={start.run}: {start.directory} is gone, and this run, which has yet to begin, needs it")


def _recorded(start: Start, folder: Path) -> list[dict[str, str]]:
    """The parents that runs in ``folder`` recorded and that ``start.run`` may mean: their identities and places."""
    parents: dict[str, dict[str, str]] = {}
    for run in all_runs(folder):
        with suppress(UserError):  # one that cannot be read
            saved = Start.of(run.config)
            if saved.run is not None and saved.directory is not None and _means(cast(str, start.run), saved):
                parents[saved.run] = {"run": saved.run, "directory": saved.directory}
    return list(parents.values())


def _means(word: str, saved: Start) -> bool:
    """Return whether ``start.run`` may mean the parent of a saved configuration."""
    place = Path(cast(str, saved.directory))
    return cast(str, saved.run).startswith(word) or word == place.name or expanded(word).absolute() == place
