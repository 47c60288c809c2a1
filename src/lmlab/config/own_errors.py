"""Messages for errors raised in a user's own modules: the line of code, and advice."""

import os
import traceback
from pathlib import Path

from lmlab.config import sources


def about(error: Exception) -> str:
    """Return text to be appended to an error's message: the line of the user's code, and advice.

    It is empty for errors that do not involve the user's own modules.
    """
    return _place(error) + _advice(error)


def _place(error: Exception) -> str:
    """Return `` in my_data.py, line 18``: the innermost line of the user's code in the traceback."""
    lines = [
        f" in {Path(frame.f_code.co_filename).name}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if sources.is_own(str(frame.f_globals.get("__name__")))
    ]
    return lines[-1] if lines else ""


def _advice(error: Exception) -> str:
    """Return advice if a run's copy lacks a module or a file of the user's; empty for other errors."""
    copy = sources.copy_in_use()
    if isinstance(error, ModuleNotFoundError):
        sources.use_copy(None)
        try:
            source = sources.find(str(error.name))
        finally:
            sources.use_copy(copy)
        if source is not None and source.path.suffix == ".py":
            return "; import your own modules by statements, or by a name in quotes, so that a run can copy them"
        return ""
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    if name is None or copy is None or not Path(os.fsdecode(name)).absolute().is_relative_to(copy.absolute()):
        return ""
    return (
        "; a run copies a file beside your modules only if its name stands in quotes there; name it so, or pass its "
        "path as an option of yours"
    )
