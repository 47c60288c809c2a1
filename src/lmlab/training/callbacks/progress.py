"""Progress of one run: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import time
from typing import Any, cast

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lmlab.numerals import written
from lmlab.training.module import LanguageModeling

SECONDS_BETWEEN_LINES = 30


class Progress(pl.Callback):
    """Shows steps, tokens per second, time left, and the newest training and validation loss; on rank 0 only.

    Args:
        name: the run's name, shown in front.
        console: where to show it.
    """

    def __init__(self, name: str, console: Console | None = None) -> None:
        self.name = name
        self.console = console or Console(stderr=True)
        self._bars: Bars | None = None
        self._shown_at = 0.0
        self._start = (0, 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = (trainer.global_step, time.perf_counter())
        self._shown_at = time.perf_counter()
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            refresh_per_second=4,
        )
        self._bars.start()
        self._training = self._bars.add_task(self.name, total=trainer.max_steps, completed=trainer.global_step, text="")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        every = 0.25 if self._bars else SECONDS_BETWEEN_LINES
        last = trainer.global_step == trainer.max_steps
        if not trainer.is_global_zero or (now - self._shown_at < every and not (last and self._bars)):
            return
        self._shown_at = now
        text = self.describe(trainer, pl_module)
        if self._bars:
            self._bars.update(self._training, completed=trainer.global_step, text=text)
        else:
            self.console.print(
                f"{self.name}: step {trainer.global_step} of {trainer.max_steps}, {text}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def describe(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
        """Rate since this attempt began, in tokens per second, and the newest losses."""
        module = cast(LanguageModeling, pl_module)
        first_step, started = self._start
        seconds = max(time.perf_counter() - started, 1e-9)
        rate = (trainer.global_step - first_step) * module.tokens_per_step / seconds
        parts = [f"{rate:,.0f} tokens/s"]
        shown = {"train/loss": ("loss {}", "{:.3f}"), "validation/bits_per_byte": ("validation {} bits/byte", "{:.3f}")}
        if "validation/loss" in module.latest and "validation/bits_per_byte" not in module.latest:
            shown = {"train/loss": ("loss {}", "{:.3f}"), "validation/accuracy": ("accuracy {}", "{:.1%}")}
            shown["longer/accuracy"] = ("longer {}", "{:.1%}")
        parts += [
            text.format(written(module.latest[name], form))
            for name, (text, form) in shown.items()
            if name in module.latest
        ]
        return ", ".join(parts)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bars:
            loaders: list[Any] = trainer.val_dataloaders or []
            everything = trainer.datamodule.validates_all  # type: ignore[attr-defined]
            total = sum(len(loader) for loader in loaders if everything or not loader.dataset.only_last)
            self._validating = self._bars.add_task("  validating", total=total, text="")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._bars:
            self._bars.advance(self._validating)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bars:
            self._bars.remove_task(self._validating)
            self._bars.update(self._training, text=self.describe(trainer, pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None
