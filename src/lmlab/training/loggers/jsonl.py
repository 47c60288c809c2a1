"""Every logged scalar, as a line of JSON in the run directory."""

import json
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lmlab.runs.files import read_jsonl, write_text


class JsonlLogger(Logger):
    """Appends ``{"step": ..., "tokens": ..., "<metric>": ...}`` to ``path``; flushed to disk at every checkpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run directory holds the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    @rank_zero_only
    def save(self) -> None:
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def drop_rows_after(path: Path, step: int) -> None:
    """Leave out the rows of steps that a resumed run will compute again, and a last row that was cut short."""
    if path.exists():
        kept = [row for row in read_jsonl(path) if row["step"] <= step]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
