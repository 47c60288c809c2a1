"""Starting the processes of a run, each from a process that has imported the libraries already.

Importing them takes seconds. One server process does it, once, and every process of every run is forked from it before
it has done anything else: with its own memory, environment, generators and nothing that another run left behind. The
server is ``multiprocessing``'s.
"""

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from multiprocessing import reduction
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.runs.elastic import Ranks, start_ranks
from lmlab.runs.parent import PARENT, end_with_parent
from lmlab.runs.run import Run
from lmlab.runs.temporary import TemporaryFolder, socket_folder

_CONTEXT = multiprocessing.get_context("forkserver")
_ENVIRONMENT = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


class Share(NamedTuple):
    """What of this machine the processes of a run may use; ``None``: all of it."""

    cores: tuple[int, ...] | None = None
    gpus: tuple[str, ...] | None = None
    memory: int | None = None
    """bytes that each process may hold"""
    quiet: bool = False
    """what they print goes to the run's log: the terminal belongs to whoever shows several runs"""


EVERYTHING = Share()


def warm_up() -> None:
    """Begin importing the libraries in the server process, which costs this one nothing; does so once.

    A cluster sends its signals to every process of a job. The server lives through them, and a process that it has
    just forked gets them as soon as it listens (see :mod:`lmlab.runs.signals`).
    """
    from multiprocessing import forkserver, resource_tracker

    _CONTEXT.set_forkserver_preload(["lmlab.runs.server"])
    resource_tracker.ensure_running()  # would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
    surroundings, folder = dict(os.environ), tempfile.tempdir
    try:
        # For the server alone: what else is started from here is not its kind.
        os.environ.update(_ENVIRONMENT | {PARENT: str(os.getpid())})
        tempfile.tempdir = socket_folder()
        forkserver.ensure_running()
    finally:
        tempfile.tempdir = folder
        os.environ.clear()
        os.environ.update(surroundings)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """The process or processes of a run on this machine, in a process group and with a temporary folder of their own.

    Args:
        lock: the file descriptor of the run's lock, which they hold as long as one of them lives; ``None`` on all nodes
            but the first.
    """

    def __init__(self, run: Run, ranks: Ranks, lock: int | None, share: Share = EVERYTHING) -> None:
        warm_up()
        # What is killed cannot tidy up: its temporary files go with this folder. Compiled kernels are for all runs.
        self._temporary = TemporaryFolder()
        kernels = str(Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}")
        environment = {"TORCHINDUCTOR_CACHE_DIR": kernels, **os.environ, **_ENVIRONMENT}
        environment |= {PARENT: str(os.getpid()), "TMPDIR": str(self._temporary.path)}
        if share.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
        folder = str(Path.cwd())
        # A user's own modules come from the run directory alone.
        places = [place for place in sys.path if place not in ("", folder)]
        held = None if lock is None else _Inherited(lock)
        self._first = _CONTEXT.Process(target=_begin, args=(run.path, ranks, held, share, environment, folder, places))
        self._first.start()

    @property
    def sentinel(self) -> int:
        """Becomes ready when the first of them has ended."""
        return self._first.sentinel

    @property
    def exitcode(self) -> int | None:
        """How the first of them, which is the last to end by itself, ended; ``None``: it has not."""
        return self._first.exitcode

    def send(self, sent: signal.Signals) -> None:
        """Send a signal to all of them."""
        assert self._first.pid is not None
        try:
            os.killpg(self._first.pid, sent)
        except ProcessLookupError:  # they have ended, or the first has not yet made its group
            if self._first.exitcode is not None:  # its number may be another process's by now
                return
            try:
                os.kill(self._first.pid, sent)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Once the first has ended: end what is left of the others, and let nothing of them stay behind."""
        self.send(signal.SIGKILL)
        self._first.close()
        self._temporary.remove()


class _Inherited:
    """A file descriptor that a started process has as well, until it ends."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return _keep, (reduction.DupFd(self.descriptor),)


def _keep(descriptor: Any) -> "_Inherited":
    return _Inherited(descriptor.detach())


def _begin(
    path: Path,
    ranks: Ranks,
    lock: _Inherited | None,  # open as long as this function runs
    share: Share,
    environment: dict[str, str],
    folder: str,
    places: list[str],
) -> None:
    """What the first process does: be the run, or start its ranks."""
    os.setpgid(0, 0)
    _keep_to(share, Run(path).log)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # the server's; to be looked up again
    os.chdir(folder)
    sys.path[:] = places
    if ranks.here * ranks.nodes == 1:
        _be_rank(path)
        return
    end_with_parent()
    start_ranks(Run(path), ranks, _be_rank)


def _keep_to(share: Share, log: Path) -> None:
    if share.cores is not None:
        os.sched_setaffinity(0, share.cores)
    if share.memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (share.memory, share.memory))
    if share.quiet:
        with log.open("ab") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())


def _be_rank(path: Path) -> None:
    from lmlab.training.process import main

    main(Run(path))
