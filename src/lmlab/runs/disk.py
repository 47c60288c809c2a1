"""Error messages for a file system that is full, read-only or gone."""

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
    """Return a one-line message with a remedy if ``error`` is a fault of the file system that holds ``run``.

    Returns:
        ``None`` for other errors.
    """
    try:
        gone, steps = not run.exists, list(checkpoints.saved(run.checkpoints))
    except OSError:
        gone, steps = False, []
    if gone:
        return f"{run.path}: the folder is gone; bring it back and repeat the command to resume from its last state"
    failure = system_error(error)
    remedy = None if failure is None else failure_of_disk(failure)
    if failure is None or remedy is None:
        return None
    where = Path(os.fsdecode(failure.filename)) if failure.filename else run.path
    if not where.absolute().is_relative_to(run.path.absolute()):
        return None
    kept = f"the last good state, at step {steps[-1]}, is kept" if steps else "no state had been saved yet"
    return f"{where}: {os.strerror(failure.errno or 0)}; {kept}: {remedy} and repeat the command"


def failure_of_disk(error: OSError) -> str | None:
    """Return a remedy for an error of the file system itself; ``None`` for other errors, like a missing file."""
    return _REMEDIES.get(error.errno or 0)


def not_prepared(error: OSError, name: str, cache: Path) -> str:
    """Return a message, with a remedy, about a cache in which data cannot be prepared."""
    place = f" ({error.filename})" if error.filename and str(error.filename) != str(cache) else ""
    reason = f"cannot prepare {name} there: {error.strerror or error}{place}"
    remedy = failure_of_disk(error) or "choose another folder"
    return f"paths.cache={cache}: {reason}; {remedy} and repeat the command"


class LogFile(logging.FileHandler):
    """A log handler that raises if a line cannot be written; Python's own prints a stack trace and continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise
