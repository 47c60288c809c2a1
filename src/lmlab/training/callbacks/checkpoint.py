"""The state to resume from, and the weights of the best validation."""

import math
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import ModelParallelStrategy

from lmlab.errors import UserError
from lmlab.runs import checkpoints
from lmlab.runs.files import errors_name, remove
from lmlab.training.module import LanguageModeling
from lmlab.training.parallel import save_weights


class Checkpoint(pl.Callback):
    """Writes checkpoints, from which training resumes exactly, and ``best.safetensors``, the best weights so far.

    A checkpoint is written between two steps: after the validation and all rows of the previous step, so that a resumed
    run neither repeats nor loses any. Checkpoints and the file are written completely or not at all.

    Args:
        every: optimizer steps between checkpoints; ``None``: after every validation.
        keep: number of newest checkpoints to keep; ``None``: all.
        folder: folder of the files; supplied by the run.
    """

    def __init__(self, folder: Path, every: int | None = None, keep: int | None = 2) -> None:
        if every is not None and every < 1:
            raise UserError(f"callbacks.checkpoint.every={every}: expected at least 1 step, or null")
        if keep is not None and keep < 2:
            raise UserError(
                f"callbacks.checkpoint.keep={keep}: expected at least 2 (the last may be damaged), or null for all"
            )
        self.folder = folder
        self.every = every
        self.keep = keep
        self.best = math.inf
        self.saved_step = 0
        """The step of the newest checkpoint, or of the one that the run resumed from."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not isinstance(trainer.strategy, ModelParallelStrategy):  # which saves in shards by itself
            trainer.strategy.checkpoint_io = OneFile()

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
        if trainer.is_global_zero:
            checkpoints.remove_old(self.folder, self.keep)  # a process that was killed after saving may not have

    def save(self, trainer: pl.Trainer) -> None:
        """Write a checkpoint now; called on every rank, between two steps.

        Nothing happens if this step already has a checkpoint.

        Raises:
            OSError: it cannot be written; earlier checkpoints are not changed.
        """
        step, previous = trainer.global_step, self.saved_step
        if step == previous:
            return
        self.saved_step = step
        for logger in trainer.loggers:
            logger.save()
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        _count_started_batch_as_not_begun(checkpoint)
        try:
            if trainer.is_global_zero:
                checkpoints.begin(self.folder, step)
            trainer.strategy.barrier()
            state = checkpoints.temporary(self.folder, step) / checkpoints.STATE
            with errors_name(checkpoints.place(self.folder, step)):
                trainer.strategy.save_checkpoint(checkpoint, state)
            trainer.strategy.barrier()
            if trainer.is_global_zero:
                checkpoints.complete(self.folder, step, previous, checkpoint["validated_step"], self.keep)
            trainer.strategy.barrier()
        except BaseException:
            if trainer.is_global_zero:
                remove(checkpoints.temporary(self.folder, step))  # it may have filled the disk
            raise

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(LanguageModeling, pl_module)
        if module.scoring.cost < self.best:
            self.best = module.scoring.cost
            self.folder.mkdir(exist_ok=True)
            save_weights(module.model, self.folder / checkpoints.BEST)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.saved_step = state_dict["best"], state_dict["saved_step"]


class OneFile(TorchCheckpointIO):
    """Writes straight into the checkpoint's folder, which is renamed as a whole.

    Lightning itself makes a copy of the state in memory and another in the system's temporary folder, which remains
    there if the process is killed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        if not Path(path).is_dir():
            return super().load_checkpoint(path, *arguments, **options)
        from lmlab.training.fsdp import read_shards

        return read_shards(path)


def _count_started_batch_as_not_begun(checkpoint: dict[str, Any]) -> None:
    """Set Lightning's batch counters to those between two batches.

    The hook runs when the next batch counts as ready; resumed like that, Lightning would keep the total one batch
    ahead from then on, and validate one batch early.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counters in (progress["total"], progress["current"]):
        counters["ready"] = counters["started"] = counters["processed"] = counters["completed"]
