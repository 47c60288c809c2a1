"""Signals that ask a process to stop, and the end of the process that asked for a run.

In the processes of a run a signal is noted when it comes, and obeyed where they can end without losing anything. In the
process that supervises runs it does what the keyboard does.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lmlab.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""From a keyboard, ``kill``, and the schedulers of clusters before they take a machine away."""
_OUTSIDE = (*STOPPING, signal.SIGHUP)
"""What tells the process that sees runs through: also a terminal that is closed."""

INTERRUPTED = 75
"""Exit code of a process that was told to stop and has left its state behind (EX_TEMPFAIL of sysexits.h)."""

_received: signal.Signals | None = None


def listen() -> None:
    """Note the signals of ``STOPPING`` from now on, rather than die of them; called in the main thread."""
    for number in STOPPING:
        signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # what came since the process was forked comes now


def _note(number: int, _: FrameType | None) -> None:
    global _received
    _received = _received or signal.Signals(number)


def received() -> signal.Signals | None:
    """The first signal that told this process to stop; ``None`` if none has."""
    return _received


def check() -> None:
    """End what has nothing to save yet. Raises ``Interrupted`` after a signal."""
    if _received is not None:
        raise Interrupted(f"told to stop by {_received.name} before training began")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that tell this process to stop wait for the end of what is begun here.

    A process that was started must not be lost sight of because a signal came before its handle was kept.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    waiting: list[int] = []
    before = {kind: signal.signal(kind, lambda number, _: waiting.append(number)) for kind in _OUTSIDE}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    for number in dict.fromkeys(waiting):
        signal.raise_signal(number)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let signals that tell this process to stop do what the keyboard does: runs write their state first."""

    def tell(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(f"told to stop by {signal.Signals(number).name}")

    before = {kind: signal.signal(kind, tell) for kind in _OUTSIDE if kind != signal.SIGINT}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


PARENT = "LMLAB_PARENT"
"""The environment variable that holds its number."""


def end_with_parent() -> None:
    """End this process soon after the one that asked for the run, or the one that started this one, is gone.

    Otherwise an orphan would go on writing into a directory that a repeated command wants to resume.
    """
    parent = int(os.environ.get(PARENT, 0))
    if not parent:
        return
    started_by = os.getppid()

    def watch() -> None:
        while True:
            try:
                os.kill(parent, 0)
            except ProcessLookupError:
                os._exit(143)
            if os.getppid() != started_by:
                os._exit(143)
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
