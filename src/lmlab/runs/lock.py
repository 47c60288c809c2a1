"""The lock of a run directory: one computes it, everyone else waits, on one machine and through a shared folder.

Two things together say who holds it:

- ``flock`` on ``run.lock``, inherited by the processes of the run: exact, and free at once when all of them are gone.
  It is the kernel's, so on many shared file systems it does not reach other machines, and on some there is none.
- the newest ``owner.<number>.json``: who took the lock, kept young by touching it every few seconds. On the machine of
  its owner the processes decide; on any other its age does.

Numbers only ever grow. To take a free lock is to create the file with the next number, which a file system lets one
process do; whoever finds a higher number than its own afterwards came too late. To release it is to write ``{}``.
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
    """Who holds a lock.

    Args:
        host: the machine's name.
        machine: tells apart machines, their starts, and containers in which a process number means another process.
        pid, began: the process and when it began, in clock ticks of the kernel.
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
        """This process."""
        pid = os.getpid()
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(platform.node(), _machine(), pid, _began(pid) or "", _user(), time)

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.time}"

    @property
    def is_here(self) -> bool:
        """Whether its process number means something in this process."""
        return self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Whether its process still runs; only where :attr:`is_here`."""
        return _began(self.pid) == self.began

    @classmethod
    def read(cls, content: bytes) -> "Owner | None":
        """The owner that a record names; ``None`` if it was released, or is just being written."""
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
    """When process ``pid`` began (empty where that cannot be read); ``None``: it is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # somebody else's
        pass
    try:
        # The second field, the name, may hold spaces and brackets; the state is the third, the start the 22nd.
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
"""Seconds after which another machine takes a record that nobody touched for abandoned, by the file system's clock."""

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_FREE = b"{}"


class RunLock:
    """A lock that is held, until it is released or every process that inherited it is gone.

    Made by :func:`take`. A thread keeps the owner's record young; it ends with the lock.
    """

    def __init__(self, folder: Path, number: int, record: int, file: IO[str], beat: float) -> None:
        self._folder = folder
        self._number = number
        self._record = record
        self._file = file
        self._released = threading.Event()
        self.lost = False
        """Whether another machine took the lock for abandoned, because this one was suspended or cut off."""
        self._beats = threading.Thread(target=self._keep_young, args=(beat,), daemon=True, name="run-lock")
        self._beats.start()

    def fileno(self) -> int:
        """The descriptor that a child process has to inherit to hold the lock as well."""
        return self._file.fileno()

    def release(self) -> None:
        """Give it up; a child that inherited it goes on holding it."""
        if self._released.is_set():
            return
        self._released.set()
        self._beats.join()
        try:
            os.pwrite(self._record, _FREE, 0)
            os.ftruncate(self._record, len(_FREE))
        except OSError:  # the directory is gone from under an open file, on a shared file system
            pass
        finally:
            os.close(self._record)
            self._file.close()

    def _keep_young(self, beat: float) -> None:
        while not self._released.wait(beat):
            try:
                os.utime(self._record)  # by descriptor: never the record of somebody else
                self.lost = max(_numbers(self._folder), default=0) != self._number
            except OSError:  # a shared file system may be away for a moment
                continue


def take(folder: Path, *, flock: bool = True, beat: float = BEAT, limit: float = LIMIT) -> RunLock | None:
    """Take the lock of ``folder``, which is created where it is missing; ``None`` if it is held.

    Args:
        flock: use the file system's locks where it has them.
        beat: seconds between two touches of the record.
        limit: seconds until the record of another machine counts as abandoned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.lock"
    file = path.open("a")
    try:
        exact = flock and _flock(file, fcntl.LOCK_EX)
        # Whoever removed the directory and laid it out anew holds the lock of another file of that name.
        if exact is not None and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            found = _create_record(folder, exact, limit)
            if found is not None:
                return RunLock(folder, *found, file, beat)
    except FileNotFoundError:  # the directory was removed meanwhile
        pass
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def is_held(folder: Path, *, flock: bool = True, limit: float = LIMIT) -> bool:
    """Whether some process holds the lock of ``folder`` now, here or on another machine."""
    try:
        with (folder / "run.lock").open("a") as file:
            exact = flock and _flock(file, fcntl.LOCK_SH)
            return exact is None or _alive(folder, max(_numbers(folder), default=0), exact, limit)
    except OSError:  # nothing there, or nothing to be written there
        return False


def owner(folder: Path) -> Owner | None:
    """Who holds the lock of ``folder``, or held it last and did not release it."""
    try:
        return Owner.read(_path(folder, max(_numbers(folder), default=0)).read_bytes())
    except OSError:
        return None


def _flock(file: IO[str], kind: int) -> bool | None:
    """Lock the file and say whether the file system can; ``None`` if it is locked by another process."""
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
    """Create the next record and return its number and descriptor; ``None``: it is held, or another was first."""
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
    """Whether record ``number`` is that of a living owner.

    Args:
        exact: this process holds the flock, so whoever may have held it on this machine is gone.
    """
    try:
        with _path(folder, number).open("rb") as file:  # opened, so that a shared file system asks for its newest state
            content, touched = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    if content == _FREE:
        return False
    found = Owner.read(content)
    if found is not None and found.is_here:
        return not exact and found.lives
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime - touched < limit


def _path(folder: Path, number: int) -> Path:
    return folder / f"owner.{number}.json"


def _numbers(folder: Path) -> list[int]:
    found = (re.fullmatch(r"owner\.(\d+)\.json", path.name) for path in folder.iterdir())
    return [int(match[1]) for match in found if match]
