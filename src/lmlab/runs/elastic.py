"""The ranks of a run: started, watched and connected by PyTorch's elastic launcher, the one inside ``torchrun``."""

import logging
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.runs.files import write_json
from lmlab.runs.run import Run
from lmlab.runs.signals import INTERRUPTED


class Ranks(NamedTuple):
    """How many processes a run has, and where they meet."""

    here: int
    """processes on this node"""
    nodes: int = 1
    node: int = 0
    rendezvous: str | None = None
    """``host:port`` of the first of several nodes"""
    attempt: int = 1
    """counts the times that the run was started: those of different ones never meet"""


def get_rank() -> int:
    """This process's number among those of the run: 0 for the one that writes what all of them need only once."""
    return int(os.environ.get("RANK", 0))


def _end_without_ranks(number: int, frame: Any) -> None:
    if not multiprocessing.active_children():
        os._exit(INTERRUPTED)


def start_ranks(run: Run, ranks: Ranks, be_rank: Callable[[Path], None]) -> None:
    """Start this node's ranks of ``run``, watch them, and return when all have ended well; otherwise end this process.

    Args:
        be_rank: what each of them does, with the run's path.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    # Signals are for the ranks, which decide together when to stop; before there are any, they end the meeting.
    signal.signal(signal.SIGTERM, _end_without_ranks)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    logging.disable(logging.CRITICAL)  # the run itself says what failed
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
        if failure.exitcode not in (1, INTERRUPTED):  # what the others complain of is what it left them with
            code = failure.exitcode
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"died (exit code {code})"
            write_json(run.error, {"kind": "Fault", "message": f"rank {rank} {how}", "traceback": ""})
        os._exit(INTERRUPTED if failure.exitcode == INTERRUPTED else 1)
    except OSError as error:  # before there is a rank: what watches them needs semaphores, which are files there
        message = f"{ranks.here} processes cannot be started: {error.strerror} (is there room in /dev/shm?)"
        write_json(run.error, {"kind": "RunFailed", "message": message, "traceback": traceback.format_exc()})
        os._exit(1)


def _rank(be_rank: Callable[[Path], None], path: Path) -> None:
    logging.disable(logging.NOTSET)
    be_rank(path)
