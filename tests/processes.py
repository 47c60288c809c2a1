"""The processes that a command has started, its servers and orphans too: all that carry a mark in their environment."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

MARK = "LMLAB_TEST_MARK"


def new_mark() -> str:
    return uuid4().hex


def marked(mark: str) -> dict[int, str]:
    """The command lines of the living processes with ``mark``, by process number."""
    found = {}
    for folder in _processes():
        try:
            has_it = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if has_it and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def _processes() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def assert_none_left(mark: str, seconds: float = 30.0) -> None:
    """Fail, and end them, if processes with ``mark`` live on for so long."""
    deadline = time.monotonic() + seconds
    while left := marked(mark):
        if time.monotonic() > deadline:
            for process in left:
                os.kill(process, signal.SIGKILL)
            raise AssertionError(f"left behind: {left}")
        time.sleep(0.05)
