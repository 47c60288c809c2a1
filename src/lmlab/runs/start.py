"""The section ``start``: a finished run whose weights, and optimizer state, another one begins with.

The configuration names the parent by its identity, so the child's identity does not depend on where the parent lies.
The child keeps what it begins with in its own directory and needs the parent no more once it exists.
"""

from dataclasses import dataclass
from pathlib import Path

from lmlab.config import Config, check_arguments
from lmlab.errors import UserError, nearest
from lmlab.runs import checkpoints
from lmlab.runs.lookup import find
from lmlab.runs.run import Run

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

    Raises:
        UserError: there is no such run, or it is not finished.
    """
    start = Start.of(config)
    if start.run is None:
        return config
    try:
        parent = find(start.directory or start.run, Path(config["paths"]["runs"]))
    except UserError as error:
        raise UserError(f"start.{error}" if str(error).startswith("run=") else f"start.run: {error}") from error
    manifest, status = parent.manifest_and_status()
    if status != "finished":
        raise UserError(f"start.run={start.run}: {parent.path.name} is {status}; lmlab train finishes it")
    reference = {"run": manifest["identity"], "directory": str(parent.path.absolute())}
    return config | {"start": {"checkpoint": start.checkpoint, "optimizer": start.optimizer} | reference}
