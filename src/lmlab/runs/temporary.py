"""Folders for temporary files that go with whoever made them, however that process ends."""

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lmlab.errors import UserError
from lmlab.runs.owner import Owner

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
