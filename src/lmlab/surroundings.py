"""Terminal, environment and home folder of a process."""

import codecs
import os
import sys
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


def printable(text: str) -> str:
    """Return a text with control characters replaced, because a terminal may act on them; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
