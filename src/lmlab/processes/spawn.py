"""Start the processes of a run, forked from a server process that has already imported the libraries.

Importing them takes seconds. One server process does it once, and every process of every run is forked from it, with
its own memory, environment and random generators, and without state of another run. The server is
``multiprocessing``'s.
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
from lmlab.processes import ENTRY, PRELOAD
from lmlab.processes.layout import Ranks, start_ranks
from lmlab.processes.signals import PARENT, end_with_parent
from lmlab.runs.lock import Owner
from lmlab.runs.run import Run

_CONTEXT = multiprocessing.get_context("forkserver")
_ENVIRONMENT = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


class Share(NamedTuple):
    """Share of this machine that the processes of a run may use; ``None``: all of it."""

    cores: tuple[int, ...] | None = None
    gpus: tuple[str, ...] | None = None
    memory: int | None = None
    """maximum memory of each process in bytes"""
    quiet: bool = False
    """write output to the run's log, because the terminal shows several runs"""


EVERYTHING = Share()


def warm_up(wandb: bool = True) -> None:
    """Start the import of libraries in the server process, without blocking this one; repeated calls do nothing.

    A cluster sends its signals to every process of a job. The server blocks them, and a process forked from it receives
    them as soon as it listens (see :mod:`lmlab.processes.signals`).

    Args:
        wandb: import W&B's library too, unless W&B is disabled. Otherwise every run that logs to W&B imports it, which
            takes half a second.
    """
    from multiprocessing import forkserver, resource_tracker

    _CONTEXT.set_forkserver_preload(["lmlab.processes.server"])
    resource_tracker.ensure_running()  # first, because starting it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
    surroundings, folder = dict(os.environ), tempfile.tempdir
    try:
        # For the server alone, not for other processes that are started from here.
        preload = "lmlab.wandb.preload" if wandb and os.environ.get("WANDB_MODE") != "disabled" else ""
        os.environ.update(_ENVIRONMENT | {PARENT: str(os.getpid()), PRELOAD: preload})
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
        lock: file descriptor of the run's lock, which they hold as long as one of them lives; ``None`` on all nodes
            but the first.
    """

    def __init__(self, run: Run, ranks: Ranks, lock: int | None, share: Share = EVERYTHING) -> None:
        warm_up("wandb" in run.experiment.loggers)
        # Temporary files of killed processes are removed with this folder. Compiled kernels are shared by all runs.
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
        """File descriptor that becomes ready when the first process has ended."""
        return self._first.sentinel

    @property
    def exitcode(self) -> int | None:
        """Exit code of the first process, which by itself ends last; ``None`` while it runs."""
        return self._first.exitcode

    def send(self, sent: signal.Signals) -> None:
        """Send a signal to all processes."""
        assert self._first.pid is not None
        try:
            os.killpg(self._first.pid, sent)
        except ProcessLookupError:  # they have ended, or the group does not exist yet
            if self._first.exitcode is not None:  # the number may belong to another process now
                return
            try:
                os.kill(self._first.pid, sent)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Clean up after the first process has ended: kill the others and remove the temporary folder."""
        self.send(signal.SIGKILL)
        self._first.close()
        self._temporary.remove()


class _Inherited:
    """A file descriptor that a started process inherits and keeps open until it ends."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return _keep, (reduction.DupFd(self.descriptor),)


def _keep(descriptor: Any) -> "_Inherited":
    return _Inherited(descriptor.detach())


def _begin(
    path: Path,
    ranks: Ranks,
    lock: _Inherited | None,  # kept open while this function runs
    share: Share,
    environment: dict[str, str],
    folder: str,
    places: list[str],
) -> None:
    """Run the first process: train, or start the ranks."""
    os.setpgid(0, 0)
    _keep_to(share, Run(path).log)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # the value is the server's; look it up again
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
"""Prefix for this machine: locks may not work across machines that share the folder."""
_HELD = ".held-by-lmlab"
"""File that the creator of such a folder holds locked. Folders without it are never removed."""

_SOCKET = 107 - len("/pymp-12345678/listener-12345678")
"""Maximum length in bytes of a folder's path in which ``multiprocessing`` can create a socket."""


def socket_folder() -> str:
    """Return the folder for temporary files, or another one if its path is too long for a socket.

    Raises:
        UserError: no such folder is writable.
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
    """A new folder in the system's temporary folder, deleted by :meth:`remove`.

    A killed process leaves its folder behind, but its lock is released. The next creation of a folder removes those
    that are not locked. On file systems without locks they remain.
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
            if self.path.exists():  # otherwise it was removed as abandoned before it was locked
                break

    def remove(self) -> None:
        """Delete the folder with its content."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._held.release()


def _remove_abandoned(held: Path) -> None:
    from filelock import FileLock

    with suppress(OSError):  # owned by another user, deleted, or in use
        if held.lstat().st_uid == os.getuid() and not held.parent.is_symlink():
            with FileLock(held, fallback_to_soft=False).acquire(timeout=0):
                shutil.rmtree(held.parent, ignore_errors=True)
