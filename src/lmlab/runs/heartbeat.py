"""How far a run is at this moment, for whoever watches many of them: ``progress.json``."""

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
    """One sign of life of a run. It stays behind when the run ends without being finished.

    Args:
        step, steps: optimizer steps done, and in the whole run; both 0 while it starts.
        tokens_per_second: since this attempt began to train; all ranks together.
        train_loss: newest value in nats per token.
        metrics: newest values of the metrics that tables with little room show, by name.
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
        """Replace the run's heartbeat by this one, whole, with the time and process filled in."""
        path = run.path / "progress.json"
        temporary = path.with_name(".progress.json.tmp")  # only rank 0 writes
        # Not flushed to disk: a heartbeat that a power failure takes is worth nothing afterwards.
        temporary.write_text(dumps(asdict(self) | {"time": now(), "pid": os.getpid()}), encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, run: Run) -> "Heartbeat | None":
        """The newest heartbeat of ``run``; ``None`` if there is none, or none that can be read."""
        try:
            return cls(**read_heartbeat(numbers(read_json(run.path / "progress.json"))))
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    @staticmethod
    def remove(run: Run) -> None:
        """Leave none behind."""
        (run.path / "progress.json").unlink(missing_ok=True)
