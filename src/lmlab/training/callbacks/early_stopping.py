"""Ending a run whose validations no longer improve."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from lmlab.errors import UserError
from lmlab.training.module import COST


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Ends training after ``patience`` validations that are not better than the best by at least ``min_delta``.

    It watches the loss in nats per token, or the first metric of a task that is judged by decoded answers.
    """

    def __init__(self, patience: int = 3, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise UserError(f"callbacks.early_stopping.patience={patience}: expected at least 1")
        super().__init__(monitor=COST, mode="min", patience=patience, min_delta=min_delta)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Killed between its last checkpoint and its end, a run that had stopped would train on to the next validation.
        if self.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True
