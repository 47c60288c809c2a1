"""A progress bar for work that turns out to take long."""

import time
from types import TracebackType
from typing import Any

_PATIENCE = 2.0  # seconds before the bar appears


class ProgressBar:
    """A bar on standard error that appears once the work has taken two seconds; a context manager.

    Args:
        description: what is being done.
        total: how many bytes there are to do; ``None`` if unknown.
        shown: false: never show it.
    """

    def __init__(self, description: str, total: int | None, shown: bool) -> None:
        self._description = description
        self._total = total
        self._shown = shown
        self._done = 0
        self._bar: Any = None

    def __enter__(self) -> "ProgressBar":
        self._begun = time.monotonic()
        return self

    def advance(self, amount: int) -> None:
        """Count ``amount`` more bytes as done."""
        self._done += amount
        if self._bar is None and self._shown and time.monotonic() - self._begun > _PATIENCE:
            self._bar = self._start()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True))
        self._task = bar.add_task(self._description, total=self._total)
        bar.start()
        return bar

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
