"""Number of a run's processes, their rendezvous, and options of their supervision.

PyTorch's elastic launcher, which ``torchrun`` uses, starts, monitors and connects several processes.
"""

import logging
import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.config.experiment import Execution, TrainerOptions
from lmlab.errors import UserError
from lmlab.processes.signals import INTERRUPTED
from lmlab.runs.files import write_json
from lmlab.runs.run import Run


class Ranks(NamedTuple):
    """Number of processes of a run, and their rendezvous."""

    here: int
    """processes on this node"""
    nodes: int = 1
    node: int = 0
    rendezvous: str | None = None
    """``host:port`` of the first of several nodes"""
    attempt: int = 1
    """number of the attempt, part of the rendezvous id: processes of different attempts never connect"""


def get_rank() -> int:
    """Return the rank of this process; rank 0 writes the files that are needed only once."""
    return int(os.environ.get("RANK", 0))


def _end_without_ranks(number: int, frame: Any) -> None:
    if not multiprocessing.active_children():
        os._exit(INTERRUPTED)


def start_ranks(run: Run, ranks: Ranks, be_rank: Callable[[Path], None]) -> None:
    """Start this node's ranks of ``run``, monitor them, return if all exit with 0, and end this process otherwise.

    Args:
        be_rank: the function that each rank calls with the run's path.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    # Ranks handle signals, because they decide together when to stop. Before they exist, a signal ends the rendezvous.
    signal.signal(signal.SIGTERM, _end_without_ranks)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    logging.disable(logging.CRITICAL)  # the run reports failures itself
    try:
        config = LaunchConfig(
            min_nodes=ranks.nodes,
            max_nodes=ranks.nodes,
            nproc_per_node=ranks.here,
            run_id=f"{run.path.name}-{ranks.attempt}",
            rdzv_backend="c10d",
            rdzv_endpoint=ranks.rendezvous or "localhost:0",
            rdzv_configs={"is_host": ranks.node == 0} if ranks.nodes > 1 else {},
            local_addr=(ranks.rendezvous or "").partition(":")[0] if ranks.nodes > 1 and ranks.node == 0 else None,
            max_restarts=0,
            monitor_interval=0.1,
            start_method="fork",
            signals_to_handle="SIGQUIT",
            shutdown_timeout=5,
            logs_specs=DefaultLogsSpecs(),
        )
        launch_agent(config, _rank, [be_rank, run.path])
    except RendezvousError as error:
        if ranks.node == 0:
            message = f"the {ranks.nodes} nodes of the run did not meet at {ranks.rendezvous}: {error}"
            write_json(run.error, {"kind": "Fault", "message": message, "traceback": ""})
        os._exit(1)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode not in (1, INTERRUPTED):  # errors of other ranks follow from this one
            code = failure.exitcode
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"died (exit code {code})"
            write_json(run.error, {"kind": "Fault", "message": f"rank {rank} {how}", "traceback": ""})
        os._exit(INTERRUPTED if failure.exitcode == INTERRUPTED else 1)
    except OSError as error:  # before any rank exists: semaphores are files in /dev/shm
        message = f"{ranks.here} processes cannot be started: {error.strerror} (is there room in /dev/shm?)"
        write_json(run.error, {"kind": "RunFailed", "message": message, "traceback": traceback.format_exc()})
        os._exit(1)


def _rank(be_rank: Callable[[Path], None], path: Path) -> None:
    logging.disable(logging.NOTSET)
    be_rank(path)


def ranks_of(trainer: TrainerOptions, settings: Execution) -> Ranks:
    """Return the layout that a section ``trainer`` asks for on this node; the tasks of a SLURM job are nodes.

    Raises:
        UserError: several nodes have no rendezvous, or the numbers of nodes and tasks do not match.
    """
    nodes, node, rendezvous = trainer.nodes, settings.node, settings.rendezvous
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if nodes > 1 and rendezvous is None and tasks > 1:
        if tasks != nodes:
            raise UserError(f"trainer.nodes={nodes}: this SLURM job has {tasks} tasks; each of them is a node")
        node = int(os.environ["SLURM_PROCID"])
        rendezvous = f"{os.uname().nodename}:{_free_port()}" if node == 0 else None
    elif nodes > 1 and rendezvous is None:
        raise UserError(
            f"trainer.nodes={nodes}: the nodes need a rendezvous; start the same command on each of them with "
            "execution.rendezvous=<host of the first>:29500 and execution.node=0, 1, ... (or use hydra/launcher=slurm)"
        )
    if node >= max(nodes, 1):
        raise UserError(f"execution.node={node}: expected 0 to {nodes - 1} with trainer.nodes={nodes}")
    return Ranks(trainer.devices, nodes, node, rendezvous)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
