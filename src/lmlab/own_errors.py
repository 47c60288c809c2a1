"""Messages for errors that a user's own modules raise: the line, and advice."""

import os
import traceback
from pathlib import Path

from lmlab import sources


def about(error: Exception) -> str:
    """Return text to be appended to the message of an error: the user's line that it comes from, and what to do.

    Empty for an error that has nothing to do with the user's own modules.
    """
    return _place(error) + _advice(error)


def _place(error: Exception) -> str:
    """Return `` in my_data.py, line 18``: the innermost line of the user's that the error came through."""
    lines = [
        f" in {Path(frame.f_code.co_filename).name}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if sources.is_own(str(frame.f_globals.get("__name__")))
    ]
    return lines[-1] if lines else ""


def _advice(error: Exception) -> str:
    """Return what to do when a run's copy lacks a module or a file of the user's; empty for other errors."""
    copy = sources.copy_in_use()
    if isinstance(error, ModuleNotFoundError):
        sources.use_copy(None)
        try:
            source = sources.find(str(error.name))
        finally:
            sources.use_copy(copy)
        if source is not None and source.path.suffix == ".py":
            return "; a module of your own is found where its import is a statement, or has its name in quotes"
        return ""
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    if name is None or copy is None or not Path(os.fsdecode(name)).absolute().is_relative_to(copy.absolute()):
        return ""
    return (
        "; a run has a copy of the files beside your modules whose names stand in quotes there; name it so, or give "
        "its path as an option of yours"
    )
