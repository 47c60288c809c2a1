"""Every logged scalar, as a line of JSON in the run directory."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lmlab.runs.files import append_row, flush, read_jsonl, write_rows


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
        append_row(self.path, {"step": step, **metrics})

    @rank_zero_only
    def save(self) -> None:
        if self.path.exists():
            flush(self.path)


def drop_rows_after(path: Path, step: int, validated_step: int) -> None:
    """Leave out the rows that a resumed run will compute again, and a last row that was cut short.

    Args:
        step: the last step whose training is not repeated.
        validated_step: the last step whose validation, with all that comes of it, is not repeated.
    """

    def is_of_training(row: dict[str, Any]) -> bool:
        return any(name.startswith("train/") for name in row)

    if path.exists():
        rows = read_jsonl(path)
        kept = [row for row in rows if row["step"] <= (step if is_of_training(row) else validated_step)]
        write_rows(path, kept)
