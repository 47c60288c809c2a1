"""Folders that libraries write to on their own account, on machines where the usual ones cannot be written."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

_CACHES = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".cache/matplotlib",
    "TRITON_CACHE_DIR": ".triton",
    "WANDB_CACHE_DIR": ".cache/wandb",
    "WANDB_DATA_DIR": ".local/share/wandb",
}
"""Caches moved out of a read-only home folder; settings and credentials are still read there."""


def settle(folder: Path) -> None:
    """Give this process and all that it starts a home and a temporary folder that can be written, if they have none.

    Variables that the user has set to a folder for caches stay.

    Args:
        folder: where they are made: the cache of the outputs. If it cannot be written either, nothing changes.
    """
    with suppress(OSError):
        _settle_temporary(folder.absolute() / "tmp")
    with suppress(OSError):
        _settle_home(folder.absolute() / "home")


def _settle_home(instead: Path) -> None:
    try:
        home = Path.home()  # the system knows it where the variable is missing
        readable, writable = (home.is_dir() and os.access(home, mode | os.X_OK) for mode in (os.R_OK, os.W_OK))
    except (RuntimeError, OSError):  # neither knows it, or it lies where nothing can be seen
        readable = writable = False
    if writable:
        os.environ["HOME"] = str(home)
        return
    instead.mkdir(mode=0o700, parents=True, exist_ok=True)
    if readable:
        for name, part in _CACHES.items():
            os.environ.setdefault(name, str(instead / part))
    else:
        os.environ["HOME"] = str(instead)


def _settle_temporary(instead: Path) -> None:
    """Python looks for one that has room, in the working directory at last, where nobody expects such files."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        folder = ""
    if folder in ("", str(Path.cwd())) and os.environ.get("TMPDIR") != folder:
        instead.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.tempdir = str(instead)
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = folder  # other libraries do not try whether they can write there
