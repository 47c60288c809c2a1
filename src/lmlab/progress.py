"""How fast work is done, and a progress bar where it turns out to take long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

_PATIENCE = 2.0  # seconds before the bar appears
_INTERVAL = 0.1  # seconds between two changes of it


class Pace:
    """Rate of work since this was made.

    Args:
        done: what had been done before.
    """

    def __init__(self, done: float = 0.0) -> None:
        self._first = done
        self._began = time.monotonic()

    def rate(self, done: float) -> float:
        """Return how much has been done in a second."""
        return (done - self._first) / max(time.monotonic() - self._began, 1e-9)

    def seconds_left(self, done: float, left: float) -> float | None:
        """Return how long the rest takes at this rate; ``None`` where nothing has been done yet."""
        rate = self.rate(done)
        return left / rate if rate > 0 else None


class ProgressBar:
    """A bar on standard error that appears once the work has taken two seconds; a context manager.

    Args:
        description: what is being done.
        total: how much there is to do; ``None`` if unknown.
        shown: false: never show it.
        unit: in what that is counted; of anything but bytes, the rate is shown too, and the bar leaves nothing behind.
    """

    def __init__(self, description: str, total: int | None, shown: bool, unit: str = "bytes") -> None:
        self._description = description
        self._total = total
        self._shown = shown
        self._unit = unit
        self._done = 0
        self._drawn = 0.0
        self._bar: Any = None

    def __enter__(self) -> "ProgressBar":
        self._begun = time.monotonic()
        self._pace = Pace()
        return self

    def advance(self, amount: int) -> None:
        """Count ``amount`` more as done."""
        self._done += amount
        now = time.monotonic()
        if self._bar is None and self._shown and now - self._begun > _PATIENCE:
            self._bar = self._start()
        if self._bar is not None and now - self._drawn > _INTERVAL:
            self._drawn = now
            self._bar.update(self._task, completed=self._done, total=self._total, rate=self._pace.rate(self._done))

    def shorten(self, amount: int) -> None:
        """Count ``amount`` less as to be done."""
        assert self._total is not None
        self._total -= amount

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar from the screen while something else is written there."""
        if self._bar is not None:
            self._bar.stop()
        yield
        if self._bar is not None:
            self._bar.start()

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        counts: tuple[Any, ...] = (DownloadColumn(),)
        if self._unit != "bytes":
            counts = (
                TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {self._unit}"),
                TextColumn(f"{{task.fields[rate]:,.0f}} {self._unit}/s"),
            )
        columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
        # What is written to standard output meanwhile is to go there.
        bar = Progress(*columns, console=Console(stderr=True), transient=self._unit != "bytes", redirect_stdout=False)
        self._task = bar.add_task(
            self._description, completed=self._done, total=self._total, rate=self._pace.rate(self._done)
        )
        bar.start()
        return bar

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=self._total)
            self._bar.stop()
