"""Ending a run whose validation loss no longer falls."""

import pytorch_lightning as pl

from lmlab.errors import UserError


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Ends training after ``patience`` validations whose loss is not at least ``min_delta`` nats below the best."""

    def __init__(self, patience: int = 3, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise UserError(f"callbacks.early_stopping.patience={patience}: expected at least 1")
        super().__init__(monitor="validation/loss", mode="min", patience=patience, min_delta=min_delta)
