"""How a run's processes are looked after, and which of them run on this node."""

import os
import re
import socket
from dataclasses import dataclass

from lmlab.config import Config, check_arguments
from lmlab.errors import UserError
from lmlab.runs.elastic import Ranks


@dataclass(frozen=True)
class Execution:
    """Section ``execution`` of a training configuration: how a run's processes are looked after.

    Args:
        restarts: times that a run goes on by itself after one of its processes died, hung or differed from the others.
        grace: seconds that a run has to write its state after it was told to stop, before its processes are killed.
        requeue: under SLURM, ask for the job to be queued again after it was told to stop.
        rendezvous: ``host:port`` of the first of several nodes; ``None``: from SLURM's environment.
        node: the number of this node.
    """

    restarts: int = 1
    grace: float = 60.0
    requeue: bool = True
    rendezvous: str | None = None
    node: int = 0

    def __post_init__(self) -> None:
        for option, least in (("restarts", 0), ("grace", 0), ("node", 0)):
            value = getattr(self, option)
            if value < least:
                raise UserError(f"execution.{option}={value}: expected at least {least}")
        if self.rendezvous is not None and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous):
            raise UserError(f"execution.rendezvous={self.rendezvous}: expected host:port, for example node1:29500")

    @classmethod
    def of(cls, config: Config) -> "Execution":
        """Read a configuration. Raises ``UserError`` for an unknown option, a wrong type or a value out of range."""
        section = config.get("execution") or {}
        check_arguments(cls, section, "execution.")
        return cls(**section)


def ranks_of(trainer: Config, settings: Execution) -> Ranks:
    """The processes that a section ``trainer`` asks for on this node; the tasks of a SLURM job are nodes.

    Raises:
        UserError: several nodes cannot meet.
    """
    nodes, node, rendezvous = trainer.get("nodes", 1), settings.node, settings.rendezvous
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if nodes > 1 and rendezvous is None and tasks > 1:
        if tasks != nodes:
            raise UserError(f"trainer.nodes={nodes}: this SLURM job has {tasks} tasks; each of them is a node")
        node = int(os.environ["SLURM_PROCID"])
        rendezvous = f"{os.uname().nodename}:{_free_port()}" if node == 0 else None
    elif nodes > 1 and rendezvous is None:
        raise UserError(
            f"trainer.nodes={nodes}: the nodes need a place to meet; start the same command on each of them with "
            "execution.rendezvous=<host of the first>:29500 and execution.node=0, 1, ... (or use hydra/launcher=slurm)"
        )
    if node >= max(nodes, 1):
        raise UserError(f"execution.node={node}: expected 0 to {nodes - 1} with trainer.nodes={nodes}")
    return Ranks(trainer["devices"], nodes, node, rendezvous)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
