"""The lock of a run directory: one process computes it, others wait, on one machine and through a shared folder.

Two mechanisms together determine the holder:

- ``flock`` on ``run.lock``, inherited by the processes of the run: exact, and released when all of them have ended.
    It belongs to the kernel: on many shared file systems it does not reach other machines, and some have none.
- the newest ``owner.<number>.json``: its author took the lock and touches the file every few seconds. On the owner's
    machine its process decides whether the lock is held; on other machines the age of the file does.

Numbers only grow. A process takes a free lock by creating the file with the next number, which the file system lets
only one process do; a process that then sees a higher number has lost. It releases the lock by writing ``{}``.
"""

import errno
import fcntl
import getpass
import json
import os
import platform
import re
import tempfile
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from lmlab.runs.files import dumps


@dataclass(frozen=True)
class Owner:
    """The holder of a lock.

    Args:
        host: the machine's name.
        machine: identifies a machine, its boot, and a container with process numbers of its own.
        pid, began: the process and its start time, in clock ticks of the kernel.
        user: the account's name.
        time: when the lock was taken, as ISO 8601 in UTC.
    """

    host: str
    machine: str
    pid: int
    began: str
    user: str
    time: str

    @classmethod
    def here(cls) -> "Owner":
        """Return this process as an owner."""
        pid = os.getpid()
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(platform.node(), _machine(), pid, _began(pid) or "", _user(), time)

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.time}"

    @property
    def is_here(self) -> bool:
        """Return whether the process number is valid on this machine."""
        return self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Return whether the process still runs; valid only if :attr:`is_here`."""
        return _began(self.pid) == self.began

    @classmethod
    def read(cls, content: bytes) -> "Owner | None":
        """Return the owner in a record; ``None`` if the lock was released or the record is being written."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None


def _machine() -> str:
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _began(pid: int) -> str | None:
    """Return the start time of process ``pid`` ("" if it cannot be read); ``None`` if the process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's process
        pass
    try:
        # The second field, the name, may contain spaces and brackets; the state is the third, the start time the 22nd.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] == "Z" else fields[19]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return str(os.getuid())


BEAT = 5.0
"""Seconds between two touches of the owner's record."""
LIMIT = 60.0
"""Seconds without a touch, by the file system's clock, after which other machines consider a record abandoned."""

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FREE = b"{}"


class RunLock:
    """A held lock; it is free when it is released or all processes that inherited it have ended.

    Created by :func:`take`. A thread touches the owner's record until the lock is released.
    """

    def __init__(self, folder: Path, number: int, record: int, file: IO[str], beat: float) -> None:
        self._folder = folder
        self._number = number
        self._record = record
        self._file = file
        self._released = threading.Event()
        self.lost = False
        """``True`` if another machine took the lock, because this one was suspended or disconnected."""
        self._beats = threading.Thread(target=self._keep_young, args=(beat,), daemon=True, name="run-lock")
        self._beats.start()

    def fileno(self) -> int:
        """Return the file descriptor that a child process must inherit to hold the lock too."""
        return self._file.fileno()

    def release(self) -> None:
        """Release the lock; a child process that inherited it continues to hold it."""
        if self._released.is_set():
            return
        self._released.set()
        self._beats.join()
        try:
            os.pwrite(self._record, _FREE, 0)
            os.ftruncate(self._record, len(_FREE))
        except OSError:  # the directory was deleted on a shared file system
            pass
        finally:
            os.close(self._record)
            self._file.close()

    def _keep_young(self, beat: float) -> None:
        while not self._released.wait(beat):
            try:
                os.utime(self._record)  # by descriptor, so that it is never another process's record
                self.lost = max(_numbers(self._folder), default=0) != self._number
            except OSError:  # a shared file system may be unavailable for a moment
                continue


def take(folder: Path, *, flock: bool = True, beat: float = BEAT, limit: float = LIMIT) -> RunLock | None:
    """Take the lock of ``folder``, which is created if missing; return ``None`` if it is held.

    Args:
        flock: use the file system's locks if it has any.
        beat: seconds between two touches of the record.
        limit: seconds without a touch after which a record of another machine counts as abandoned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.lock"
    file = path.open("a")
    try:
        exact = flock and _flock(file, fcntl.LOCK_EX)
        # After the directory was removed and recreated, this file is not the one that the new holder has locked.
        if exact is not None and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            record = _create_record(folder, exact, limit)
            if record is not None:
                return RunLock(folder, *record, file, beat)
    except FileNotFoundError:  # the directory was removed in the meantime
        pass
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def is_held(folder: Path, *, flock: bool = True, limit: float = LIMIT) -> bool:
    """Return whether any process, here or on another machine, holds the lock of ``folder``."""
    try:
        with (folder / "run.lock").open("a") as file:
            exact = flock and _flock(file, fcntl.LOCK_SH)
            return exact is None or _alive(folder, max(_numbers(folder), default=0), exact, limit)
    except OSError:  # missing or not writable
        return False


def owner(folder: Path) -> Owner | None:
    """Return the owner that holds the lock of ``folder``, or held it last without releasing it."""
    try:
        return Owner.read(_path(folder, max(_numbers(folder), default=0)).read_bytes())
    except OSError:
        return None


def _flock(file: IO[str], kind: int) -> bool | None:
    """Lock the file; return whether the file system supports it, ``None`` if another process has locked it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    return True


def _create_record(folder: Path, exact: bool, limit: float) -> tuple[int, int] | None:
    """Create the next record; return its number and descriptor, ``None`` if the lock is held or another process won."""
    newest = max(_numbers(folder), default=0)
    if _alive(folder, newest, exact, limit):
        return None
    number = newest + 1
    try:
        record = os.open(_path(folder, number), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    except FileExistsError:
        return None
    first = False
    try:
        os.write(record, dumps(asdict(Owner.here())).encode())
        os.fsync(record)
        numbers = _numbers(folder)
        first = max(numbers, default=0) == number
    finally:
        if not first:
            os.close(record)
            _path(folder, number).unlink(missing_ok=True)
    if not first:
        return None
    for other in numbers:
        if other < number:
            _path(folder, other).unlink(missing_ok=True)
    return number, record


def _alive(folder: Path, number: int, exact: bool, limit: float) -> bool:
    """Return whether record ``number`` has a living owner.

    Args:
        exact: this process holds the flock, so an owner on this machine has ended.
    """
    try:
        with _path(folder, number).open("rb") as file:  # opening refreshes the state on a shared file system
            content, touched = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    if content == _FREE:
        return False
    recorded = Owner.read(content)
    if recorded is not None and recorded.is_here:
        return not exact and recorded.lives
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime - touched < limit


def _path(folder: Path, number: int) -> Path:
    return folder / f"owner.{number}.json"


def _numbers(folder: Path) -> list[int]:
    matches = (re.fullmatch(r"owner\.(\d+)\.json", path.name) for path in folder.iterdir())
    return [int(match[1]) for match in matches if match]
