"""The terminal, the environment and the home folder that a process is started with."""

import codecs
import os
import sys
from pathlib import Path

_READ = (
    *("LMLAB_", "WANDB_", "SLURM_", "RAY_", "HYDRA_", "COMP_LINE", "COLUMNS", "OMP_NUM_THREADS"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)
"""Beginnings of variables that lmlab and its libraries read. An empty CUDA_VISIBLE_DEVICES means no device."""


def tolerate_encodings() -> None:
    """Write characters that a terminal or a log has no code for as escapes, like ``\\xe9``, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def read_names_as_utf8() -> None:
    """Start this process again with names and words read as UTF-8, where its locale has ASCII alone for them."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and sys.orig_argv[1:]:
        os.environ["PYTHONUTF8"] = "1"  # of what it starts
        os.environ.setdefault("PYTHONIOENCODING", "ascii:backslashreplace")
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])


def drop_empty_variables() -> None:
    """Let environment variables that are set but empty count as unset."""
    for name in [name for name, value in os.environ.items() if not value and name.startswith(_READ)]:
        del os.environ[name]


def expanded(path: str) -> Path:
    """A path with ``~`` expanded; ``~name`` stays where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def printable(text: str) -> str:
    """Return a text without control characters, which could do things to a terminal; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
