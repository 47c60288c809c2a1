"""The state to resume from, and the weights of the best validation."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import save_model

from lmlab.errors import UserError
from lmlab.runs.files import write_whole
from lmlab.runs.run import BEST, LAST


class Checkpoint(pl.Callback):
    """Keeps ``last.ckpt``, from which training goes on exactly, and ``best.safetensors``, the best weights so far.

    The last checkpoint is written between two steps: after the validation and every row that belong to the step before
    it, so that a resumed run neither repeats nor loses one. Both files are replaced whole.

    Args:
        every: optimizer steps between checkpoints; ``None``: after every validation.
        folder: where the files go; supplied by the run.
    """

    def __init__(self, folder: Path, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise UserError(f"callbacks.checkpoint.every={every}: expected at least 1 step, or null")
        self.folder = folder
        self.every = every
        self.best = math.inf
        self.saved_step = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        between_steps = batch_idx % trainer.accumulate_grad_batches == 0
        due = pl_module.validated_step == step if self.every is None else step % self.every == 0
        if between_steps and step > self.saved_step and due:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write ``last.ckpt`` now; called on every rank, at a moment when no step is under way."""
        self.folder.mkdir(exist_ok=True)
        self.saved_step = trainer.global_step
        for logger in trainer.loggers:
            logger.save()
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        _count_started_batch_as_not_begun(checkpoint)
        if trainer.is_global_zero:
            write_whole(
                self.folder / LAST, lambda path: trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)
            )
        trainer.strategy.barrier()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("validation/loss", math.nan))
        if loss < self.best:
            self.best = loss
            self._save_best(pl_module.model)

    @rank_zero_only
    def _save_best(self, model: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        write_whole(self.folder / BEST, lambda path: save_model(model, str(path)))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.saved_step = state_dict["best"], state_dict["saved_step"]


def _count_started_batch_as_not_begun(checkpoint: dict[str, Any]) -> None:
    """Set Lightning's batch counters to those between two batches.

    The hook runs when the next batch counts as ready; resumed like that, Lightning would keep the total one batch
    ahead from then on, and validate one batch early.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counters in (progress["total"], progress["current"]):
        counters["ready"] = counters["started"] = counters["processed"] = counters["completed"]
