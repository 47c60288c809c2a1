"""Cache and temporary folders for libraries, on machines where the usual ones are not writable."""

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
    """Set a writable home and temporary folder for this process and its children, if they have none.

    Variables with which the user has set cache folders stay the same.

    Args:
        folder: parent of the new folders: the cache of the outputs. If it is not writable either, nothing changes.
    """
    with suppress(OSError):
        _settle_temporary(folder.absolute() / "tmp")
    with suppress(OSError):
        _settle_home(folder.absolute() / "home")


def _settle_home(instead: Path) -> None:
    try:
        home = Path.home()  # the system provides it if the variable is missing
        readable, writable = (home.is_dir() and os.access(home, mode | os.X_OK) for mode in (os.R_OK, os.W_OK))
    except (RuntimeError, OSError):  # unknown, or below a folder that cannot be read
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
    """Set a temporary folder if Python would otherwise use the working directory, where users expect no such files."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        folder = ""
    if folder in ("", str(Path.cwd())) and os.environ.get("TMPDIR") != folder:
        instead.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.tempdir = str(instead)
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = folder  # other libraries do not check whether it is writable
