"""A sweep's own directory: which runs its jobs asked for, and how each of them ended."""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from lmlab.runs.files import read_jsonl


def record(sweep: Path, job: int, row: dict[str, Any]) -> None:
    """Append what became of job number ``job``; a line is written with one call, so that parallel jobs do not mix."""
    with (sweep / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"job": job, **row}) + "\n")


def rows(sweep: Path) -> list[dict[str, Any]]:
    """What has been recorded of a sweep's jobs, in the jobs' order."""
    return sorted(read_jsonl(sweep / "runs.jsonl"), key=lambda row: row["job"])


class SweepCallback(Callback):
    """Remembers in the launching process which sweep has just ended, whatever launched its jobs."""

    ended: Path | None = None

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        SweepCallback.ended = Path(config.hydra.sweep.dir)
