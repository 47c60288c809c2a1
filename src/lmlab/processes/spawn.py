"""Starting the processes of a run, each from a process that has imported the libraries already.

Importing them takes seconds. One server process does it, once, and every process of every run is forked from it before
it has done anything else: with its own memory, environment, generators and nothing that another run left behind. The
server is ``multiprocessing``'s.
"""

import hashlib
import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from multiprocessing import reduction
from pathlib import Path
from typing import Any, NamedTuple

from lmlab.errors import UserError
from lmlab.processes import ENTRY
from lmlab.processes.layout import Ranks, start_ranks
from lmlab.processes.signals import PARENT, end_with_parent
from lmlab.runs.lock import Owner
from lmlab.runs.run import Run

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
    just forked gets them as soon as it listens (see :mod:`lmlab.processes.signals`).
    """
    from multiprocessing import forkserver, resource_tracker

    _CONTEXT.set_forkserver_preload(["lmlab.processes.server"])
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
    importlib.import_module(ENTRY).main(Run(path))


_PREFIX = f"lmlab-run-{hashlib.sha256(Owner.here().machine.encode()).hexdigest()[:8]}-"
"""Of this machine alone: locks may not reach others that share the folder."""
_HELD = ".held-by-lmlab"
"""In each of them: whoever made it holds this file locked. A folder without it is not ours to remove."""

_SOCKET = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes of a folder's path below which the ``multiprocessing`` library can place a socket."""


def socket_folder() -> str:
    """Return the folder for temporary files or, where its path is too long for a socket, another one.

    Raises:
        UserError: there is none.
    """
    usual = tempfile.gettempdir()
    for folder in (usual, os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp", "/dev/shm", str(Path.cwd())):
        if folder and len(os.fsencode(folder)) <= _SOCKET:
            with suppress(OSError):
                Path(tempfile.mkdtemp(dir=folder, prefix=_PREFIX)).rmdir()
                return folder
    raise UserError(
        f"TMPDIR={usual}: too long for a socket (at most {_SOCKET} bytes), and no other folder for temporary files can "
        "be written; set TMPDIR to a shorter one"
    )


class TemporaryFolder:
    """A new folder in the system's folder for temporary files, until :meth:`remove`.

    A process that is killed cannot tidy up. Its lock goes when it ends, and whoever makes the next folder removes those
    that nobody holds. On file systems without locks they stay.
    """

    def __init__(self) -> None:
        for held in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_HELD}"):
            _remove_abandoned(held)
        from filelock import FileLock

        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._held = FileLock(self.path / _HELD, thread_local=False, fallback_to_soft=False)
            with suppress(OSError):
                self._held.acquire()
            if self.path.exists():  # else it was taken for abandoned before it was locked
                break

    def remove(self) -> None:
        """Delete it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.release()


def _remove_abandoned(held: Path) -> None:
    from filelock import FileLock

    with suppress(OSError):  # another user's, or gone, or its owner lives
        if held.lstat().st_uid == os.getuid() and not held.parent.is_symlink():
            with FileLock(held, fallback_to_soft=False).acquire(timeout=0):
                shutil.rmtree(held.parent, ignore_errors=True)
