"""The base class of loggers, TensorBoard, and the logger that every run has: lines of JSON in the run directory."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lmlab.errors import UserError
from lmlab.runs.files import append_row, flush, read_jsonl, write_rows
from lmlab.runs.run import Run

if TYPE_CHECKING:
    from lmlab.training.module import LanguageModeling


class RunLogger(Logger):
    """A logger that also receives samples of text, and the end of the run.

    Attributes:
        module: the module in training, from which rows take the current step and tokens; set before training.
    """

    module: "LanguageModeling | None" = None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run directory holds the whole configuration."""

    def log_sample(self, row: dict[str, Any]) -> None:
        """Log a sample: its text, with the step and the tokens so far."""

    def finish(self, summary: dict[str, Any], exit_code: int) -> None:
        """Close what is open at the end of a run.

        Args:
            summary: its final metrics, or only its status.
            exit_code: 0 unless it has failed.
        """


class JsonlLogger(RunLogger):
    """Appends ``{"step": ..., "tokens": ..., "<metric>": ...}`` to ``path``; flushed to disk at every checkpoint.

    Args:
        module: the module in training. Every row has its current step and tokens, also a row of a user's callback
            (``pl_module.log``, ``trainer.logger.log_metrics``), whose metrics are added to the module's newest ones.
            ``None``: rows contain their own.
    """

    def __init__(self, path: Path, module: "LanguageModeling | None" = None) -> None:
        super().__init__()
        self.path = path
        self.module = module

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = row_of(metrics, step, self.module)
        if not row:
            return
        if self.module is not None:
            self.module.latest |= {name: value for name, value in row.items() if name not in ("step", "tokens")}
        append_row(self.path, row)

    @rank_zero_only
    def save(self) -> None:
        if self.path.exists():
            flush(self.path)


def row_of(metrics: Mapping[str, Any], step: int | None, module: "LanguageModeling | None") -> dict[str, Any]:
    """Return logged metrics as a row with the current step and tokens of ``module``; empty without metrics.

    Lightning adds the epoch, which is always the same, and counts the steps of a callback's metrics differently.
    Callbacks may log tensors.

    Args:
        module: ``None``: the row is that of ``step``.
    """
    row = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
    row.pop("epoch", None)
    if not row:
        return {}
    return {"step": step, **row} if module is None else row | {"step": module.global_step, "tokens": module.tokens_seen}


def drop_rows_after(path: Path, step: int, validated_step: int) -> None:
    """Remove the rows that a resumed run will compute again, and an incomplete last row.

    Args:
        step: the last step whose training is not repeated.
        validated_step: the last step whose validation and its results are not repeated.
    """

    def is_of_training(row: dict[str, Any]) -> bool:
        return any(name.startswith("train/") for name in row)

    if path.exists():
        kept: list[dict[str, Any]] = []
        for row in read_jsonl(path):
            if is_of_training(row):
                keep = row["step"] <= step
            else:  # if a partial validation ended training early, the last one is at the same step
                before = kept[-1] if kept and kept[-1]["step"] == validated_step else {}
                keep = row["step"] <= validated_step and row.keys() != before.keys()
            kept += [row] if keep else []
        write_rows(path, kept)


def tensorboard_logger(run: Run) -> TensorBoardLogger:
    """Return a logger that writes to ``<run directory>/tensorboard``.

    Raises:
        UserError: the optional package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise UserError("logger=tensorboard: the package tensorboard is missing (pip install 'lmlab[tensorboard]')")
    return TensorBoardLogger(run.path, name="tensorboard", version="")
