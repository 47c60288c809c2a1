"""Run long calls into libraries in a thread, so that signals are still handled."""

import threading
from collections.abc import Callable, Iterable, Iterator

from lmlab.processes import signals

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
