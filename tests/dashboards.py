"""A run that grows, and asking a dashboard: for its tests."""

import json
import time
from collections.abc import Callable
from typing import Any

from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lock import RunLock
from lmlab.runs.run import Run

URL = "http://127.0.0.1:8766"
WORDS = ("data=stdlib", "budget.tokens=200_000")
HOSTILE = "<img src=x onerror=window.harmed=1>\"'&amp;"


class Growing:
    """A run that is being computed, as far as anybody can see."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lock: RunLock | None = run.try_lock()
        assert self.lock is not None, "whoever looks at it must not be there yet"
        self.steps = 0
        run.metrics.write_text("")

    def grow(self, steps: int) -> None:
        with self.run.metrics.open("a") as file:
            for _ in range(steps):
                self.steps += 1
                row = {"step": self.steps, "tokens": 64 * self.steps, "validation/loss": 1 + 1 / self.steps}
                file.write(json.dumps(row | {"validation/bits_per_byte": 0.5 + 1 / self.steps}) + "\n")
        beat = Heartbeat("training", self.steps, 1000, 5000.0, 1.5, {"validation/loss": 1 + 1 / self.steps}, 12.0)
        beat.write(self.run)

    def end(self) -> None:
        if self.lock is not None:
            self.lock.release()
            self.lock = None


def ask(client: Any, fits: Callable[[dict[str, Any]], Any], **query: Any) -> dict[str, Any]:
    """Ask for what has changed until the answer fits."""
    deadline = time.monotonic() + 60
    while True:
        answer = client.get("/api/update", params=query).json()
        if fits(answer):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
