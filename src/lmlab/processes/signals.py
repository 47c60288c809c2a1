"""Signal handling: remember stop signals and act at the next safe point; end with the process that launched a run.

The processes of a run remember a signal and obey it at a point where nothing is lost. In the process that supervises
runs a signal acts like Ctrl-C.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lmlab.errors import Interrupted
from lmlab.processes import signals

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Stop signals: from a keyboard, ``kill``, and cluster schedulers before they take a machine away."""
_OUTSIDE = (*STOPPING, signal.SIGHUP)
"""Stop signals of the supervising process: also a closed terminal."""

INTERRUPTED = 75
"""Exit code of a process that was stopped and has saved its state (EX_TEMPFAIL of sysexits.h)."""

_received: signal.Signals | None = None


def listen() -> None:
    """Record the signals in ``STOPPING`` from now on instead of dying of them; called in the main thread."""
    for number in STOPPING:
        signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # delivers signals that arrived since the fork


def _note(number: int, _: FrameType | None) -> None:
    global _received
    _received = _received or signal.Signals(number)


def received() -> signal.Signals | None:
    """Return the first stop signal that this process received; ``None`` if there was none."""
    return _received


def check(when: str = "before training began") -> None:
    """Raise ``Interrupted`` after a stop signal; called while there is nothing to save.

    Args:
        when: the moment, for the message.
    """
    if _received is not None:
        raise Interrupted(f"told to stop by {_received.name} {when}")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer stop signals until the block has ended.

    Otherwise a signal could end this process between starting another process and keeping its handle.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread only
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
    """Let stop signals raise ``KeyboardInterrupt`` as the keyboard does, so that runs write their state first."""

    def tell(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(f"told to stop by {signal.Signals(number).name}")

    before = {kind: signal.signal(kind, tell) for kind in _OUTSIDE if kind != signal.SIGINT}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


PARENT = "LMLAB_PARENT"
"""Name of the environment variable with the process number of the launching process."""


def end_with_parent() -> None:
    """End this process soon after the launching process or its own parent process has ended.

    Otherwise an orphan would continue to write into a directory that a repeated command resumes.
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


_SECONDS_BETWEEN_LOOKS = 0.1


def in_background(work: Callable[[Iterator[str]], None], texts: Iterable[str]) -> None:
    """Call ``work(texts)`` in a thread and wait for it: Python handles signals only between its own instructions.

    Raises:
        Interrupted: this process received a stop signal. The thread gets no more texts and is abandoned; it ends with
            the process at the latest.
    """
    stopped = threading.Event()
    errors: list[BaseException] = []

    def until_stopped() -> Iterator[str]:
        for text in texts:
            if stopped.is_set():
                return
            yield text

    def begin() -> None:
        try:
            work(until_stopped())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=begin, daemon=True, name="background")
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_SECONDS_BETWEEN_LOOKS)
            signals.check()
    finally:
        stopped.set()
    if errors:
        raise errors[0]
