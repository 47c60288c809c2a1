"""Write heartbeats, which show other processes that a run is alive."""

import time
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl

from lmlab.metrics import TRAINING_LOSS
from lmlab.progress import Pace
from lmlab.runs.heartbeat import Heartbeat, Phase
from lmlab.runs.run import Run
from lmlab.training.module import LanguageModeling

SECONDS_BETWEEN_BEATS = 1.0


class Heartbeats(pl.Callback):
    """Writes the run's :class:`lmlab.runs.heartbeat.Heartbeat` on rank 0, at most once a second."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._written = -SECONDS_BETWEEN_BEATS
        self._pace = Pace()
        self._shown: Sequence[str] = ()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pace = Pace(trainer.global_step)
        if trainer.is_global_zero:
            self._shown = self.run.measures.shown
        self.write(trainer, pl_module, "training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.write(trainer, pl_module, "training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer, pl_module, "validating")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.write(trainer, pl_module, "validating")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._written = -SECONDS_BETWEEN_BEATS
        self.write(trainer, pl_module, "finishing")

    def write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, phase: Phase) -> None:
        """Write a heartbeat, unless the last one is younger than a second."""
        moment = time.monotonic()
        if not trainer.is_global_zero or moment - self._written < SECONDS_BETWEEN_BEATS:
            return
        self._written = moment
        module = cast(LanguageModeling, pl_module)
        steps_per_second = self._pace.rate(trainer.global_step)
        seconds_left = self._pace.seconds_left(trainer.global_step, module.total_steps - trainer.global_step)
        Heartbeat(
            phase,
            step=trainer.global_step,
            steps=module.total_steps,
            tokens_per_second=round(steps_per_second * module.tokens_per_step, 1) if steps_per_second else None,
            train_loss=module.latest.get(TRAINING_LOSS),
            metrics={name: module.latest[name] for name in self._shown if name in module.latest},
            seconds_left=None if seconds_left is None else round(seconds_left, 1),
        ).write(self.run)
