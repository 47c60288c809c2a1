"""How long the training itself took, over all attempts, without start-up, validation and samples."""

import time
from typing import Any, cast

import pytorch_lightning as pl

from lmlab.training.module import LanguageModeling


class Clock(pl.Callback):
    """Adds up seconds spent in training steps; goes on where a resumed run's checkpoint left it.

    First in the list of callbacks: what others do at a validation, and at the end, is no part of it.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all attempts together."""
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def _pause(self) -> None:
        self._before, self._since = self.seconds, None

    def _go_on(self) -> None:
        self._since = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._since is None:
            self._go_on()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = cast(LanguageModeling, pl_module)
        if module.logs_at(trainer.global_step):
            seconds = self.seconds
            module.also = {"time/seconds": seconds, "time/tokens_per_second": module.tokens_seen / max(seconds, 1e-9)}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["seconds"]
