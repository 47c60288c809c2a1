"""Rate of work, and a progress bar for work that takes long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

_PATIENCE = 2.0  # seconds before the bar appears
_INTERVAL = 0.1  # seconds between two changes of it


class Pace:
    """Rate of work since this object was created.

    Args:
        done: the amount of work done before.
    """

    def __init__(self, done: float = 0.0) -> None:
        self._first = done
        self._began = time.monotonic()

    def rate(self, done: float) -> float:
        """Return the work done per second."""
        return (done - self._first) / max(time.monotonic() - self._began, 1e-9)

    def seconds_left(self, done: float, left: float) -> float | None:
        """Return the time for the rest at this rate; ``None`` if nothing has been done yet."""
        rate = self.rate(done)
        return left / rate if rate > 0 else None


class ProgressBar:
    """Progress bar on standard error that appears once the work has taken two seconds; a context manager.

    Args:
        description: the work, in a word or two.
        total: the amount of work; ``None`` if unknown.
        shown: false: never show the bar.
        unit: the unit of the amounts. Unless it is bytes, the rate is shown too, and the bar is erased at the end in a
            terminal.
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
        """Reduce the total by ``amount``."""
        assert self._total is not None
        self._total -= amount

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the bar from the screen while other output is written."""
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
            of_total = "" if self._total is None else "/{task.total:,.0f}"
            counts = (
                TextColumn(f"{{task.completed:,.0f}}{of_total} {self._unit}"),
                TextColumn(f"{{task.fields[rate]:,.0f}} {self._unit}/s"),
            )
        columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
        # Output to standard output is not redirected.
        console = Console(stderr=True)
        transient = self._unit != "bytes" and console.is_terminal
        bar = Progress(*columns, console=console, transient=transient, redirect_stdout=False)
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
