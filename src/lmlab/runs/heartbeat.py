"""Progress of a run, for programs that monitor many runs: ``progress.json``."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from lmlab.runs.files import dumps, numbers, read_json
from lmlab.runs.run import Run, now
from lmlab.runs.version import read_heartbeat

Phase = Literal["starting", "training", "validating", "finishing"]


@dataclass(frozen=True)
class Heartbeat:
    """A progress report of a run. It remains if the run ends without finishing.

    Args:
        step, steps: optimizer steps done, and of the whole run; both 0 during the start.
        tokens_per_second: since this attempt began to train; summed over ranks.
        train_loss: newest value in nats per token.
        metrics: newest values of the metrics shown in narrow tables, by name.
        seconds_left: estimated from the whole attempt so far.
        time: when it was written, as ISO 8601 in UTC.
        pid: process of rank 0.
    """

    phase: Phase
    step: int = 0
    steps: int = 0
    tokens_per_second: float | None = None
    train_loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds_left: float | None = None
    time: str = ""
    pid: int = 0

    def write(self, run: Run) -> None:
        """Replace the run's heartbeat by this one atomically, with the time and process number filled in."""
        path = run.path / "progress.json"
        temporary = path.with_name(".progress.json.tmp")  # only rank 0 writes
        # Not flushed to disk: after a power failure it would be outdated anyway.
        temporary.write_text(dumps(asdict(self) | {"time": now(), "pid": os.getpid()}), encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, run: Run) -> "Heartbeat | None":
        """Return the newest heartbeat of ``run``; ``None`` if it is missing or unreadable."""
        try:
            return cls(**read_heartbeat(numbers(read_json(run.path / "progress.json"))))
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    @staticmethod
    def remove(run: Run) -> None:
        """Delete the heartbeat of ``run``."""
        (run.path / "progress.json").unlink(missing_ok=True)
