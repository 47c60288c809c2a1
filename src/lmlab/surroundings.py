"""Terminal, environment, home folder and temporary folder of a process."""

import codecs
import glob
import os
import sys
from contextlib import suppress
from pathlib import Path

_READ = (
    *("LMLAB_", "WANDB_", "SLURM_", "RAY_", "HYDRA_", "COMP_LINE", "COLUMNS", "OMP_NUM_THREADS"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)
"""Prefixes of variables that lmlab and its libraries read. An empty CUDA_VISIBLE_DEVICES means no device."""


def tolerate_encodings() -> None:
    """Make output escape characters that the terminal's encoding lacks, like ``\\xe9``, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def read_names_as_utf8() -> None:
    """Restart this process in UTF-8 mode if its locale decodes file names and arguments as ASCII."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and sys.orig_argv[1:]:
        os.environ["PYTHONUTF8"] = "1"  # for its child processes
        os.environ.setdefault("PYTHONIOENCODING", "ascii:backslashreplace")
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])


def drop_empty_variables() -> None:
    """Remove environment variables that are set to an empty text."""
    for name in [name for name, value in os.environ.items() if not value and name.startswith(_READ)]:
        del os.environ[name]


def expanded(path: str) -> Path:
    """Return a path with ``~`` expanded; ``~name`` is kept if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_pattern(path: Path) -> bool:
    """Return whether a path has wildcards (``*``, ``?``, ``[abc]``) and no file has it as its name."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def matches(path: Path) -> list[Path]:
    """Return the path itself if it exists, or all paths that match its wildcards, sorted; ``**`` stands for folders."""
    if not is_pattern(path):
        return [path] if path.exists() else []
    return sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207, paths may be absolute


def printable(text: str) -> str:
    """Return a text with control characters replaced, because a terminal may act on them; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


_CACHES = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".cache/matplotlib",
    "TRITON_CACHE_DIR": ".triton",
    "WANDB_CACHE_DIR": ".cache/wandb",
    "WANDB_DATA_DIR": ".local/share/wandb",
}
"""Caches moved out of a read-only home folder; settings and credentials are still read there."""


def use_writable_folders(folder: Path) -> None:
    """Set a writable home and temporary folder for this process and its children, if they have none.

    Variables with which the user has set cache folders stay the same.

    Args:
        folder: parent of the new folders: the cache of the outputs. If it is not writable either, nothing changes.
    """
    with suppress(OSError):
        _use_writable_temporary_folder(folder.absolute() / "tmp")
    with suppress(OSError):
        _use_writable_home(folder.absolute() / "home")


def _use_writable_home(instead: Path) -> None:
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


def _use_writable_temporary_folder(instead: Path) -> None:
    """Set a temporary folder if Python would otherwise use the working directory, where users expect no such files."""
    import tempfile  # takes longer to import than this module

    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        folder = ""
    if folder in ("", str(Path.cwd())) and os.environ.get("TMPDIR") != folder:
        instead.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.tempdir = str(instead)
    if "TMPDIR" in os.environ:
        os.environ["TMPDIR"] = folder  # other libraries do not check whether it is writable
