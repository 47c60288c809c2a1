"""The process that holds a lock, told apart from any other on any machine."""

import getpass
import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


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
