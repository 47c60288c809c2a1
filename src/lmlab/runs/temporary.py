"""Folders for temporary files that go with whoever made them, however that process ends."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "lmlab-"


class TemporaryFolder:
    """A new folder in the system's folder for temporary files, until :meth:`remove`.

    A process that is killed cannot tidy up. It holds a lock on its folder, which the kernel releases when it ends, and
    whoever makes the next folder removes those that nobody holds. On file systems without such locks they stay.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_abandoned(left)
        descriptor = None
        while descriptor is None:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            descriptor = _hold(self.path)
        self._descriptor = descriptor

    def remove(self) -> None:
        """Delete it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def _hold(folder: Path) -> int | None:
    """Lock a folder and return the lock's descriptor; ``None``: somebody took it for abandoned before that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if folder.exists():
        return descriptor
    os.close(descriptor)
    return None


def _remove_abandoned(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone
        return
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its owner lives
        return
    finally:
        os.close(descriptor)
