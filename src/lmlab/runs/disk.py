"""What to say when the file system that a run lies on is full, read-only or gone."""

import errno
import logging
import os
from pathlib import Path

from lmlab.runs import checkpoints
from lmlab.runs.files import system_error
from lmlab.runs.run import Run

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN), "bring the drive back"),
}


def reason(error: BaseException, run: Run) -> str | None:
    """Say in one line that ``error`` is the fault of the file system that ``run`` lies on, and what to do about it.

    Returns:
        ``None`` if it is another error.
    """
    try:
        gone, steps = not run.exists, list(checkpoints.saved(run.checkpoints))
    except OSError:
        gone, steps = False, []
    if gone:
        return f"{run.path}: the folder is gone; bring it back and repeat the command to go on from its last state"
    failure = system_error(error)
    remedy = None if failure is None else failure_of_disk(failure)
    if failure is None or remedy is None:
        return None
    where = Path(os.fsdecode(failure.filename)) if failure.filename else run.path
    if not where.absolute().is_relative_to(run.path.absolute()):
        return None
    kept = f"the last good state, at step {steps[-1]}, is kept" if steps else "it had no state to keep yet"
    return f"{where}: {os.strerror(failure.errno or 0)}; {kept}: {remedy} and repeat the command"


def failure_of_disk(error: OSError) -> str | None:
    """What to do about an error of the file system itself; ``None`` if it is another one, like a missing file."""
    return _REMEDIES.get(error.errno or 0)


class LogFile(logging.FileHandler):
    """A log whose lines are written or end the run: Python's own prints a stack trace and goes on without them."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise
