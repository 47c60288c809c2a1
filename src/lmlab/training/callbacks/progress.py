"""Progress of one run: a bar with rate and time left on a terminal, occasional lines elsewhere.

After each validation a line shows its primary metric and the beginning of the sample.
"""

import time
from typing import Any, cast

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lmlab.metrics import TRAINING_LOSS, Measures, score_of
from lmlab.numerals import written
from lmlab.progress import Pace
from lmlab.training.callbacks.samples import Samples
from lmlab.training.module import LanguageModeling

SECONDS_BETWEEN_LINES = 30


class Progress(pl.Callback):
    """Shows steps, tokens per second, time left, and the newest values of the loss and the metrics; on rank 0 only.

    Args:
        name: the run's name, shown in front.
        measures: the metrics of the run; the primary one is shown for every split that has it.
        console: the output console.
    """

    def __init__(self, name: str, measures: Measures, console: Console | None = None) -> None:
        self.name = name
        self.measures = measures
        self.console = console or Console(stderr=True)
        self._bars: Bars | None = None
        self._shown_at = 0.0
        self._pace = Pace()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pace = Pace(trainer.global_step)
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
            self._print(trainer, text)

    def _print(self, trainer: pl.Trainer, text: str) -> None:
        """Print a line, above the bar if there is one; on a terminal it is cut at the right edge."""
        self.console.print(
            f"{self.name}: step {trainer.global_step} of {trainer.max_steps}, {text}",
            highlight=False,
            markup=False,
            soft_wrap=not self._bars,
            no_wrap=True,
            overflow="ellipsis" if self._bars else "ignore",
        )

    def describe(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
        """Return the rate of this attempt in tokens per second, and the newest loss and metrics."""
        module = cast(LanguageModeling, pl_module)
        rate = self._pace.rate(trainer.global_step) * module.tokens_per_step
        parts = [f"{rate:,.0f} tokens/s"]
        if TRAINING_LOSS in module.latest:
            parts.append(f"loss {written(module.latest[TRAINING_LOSS], '{:.3f}')}")
        measures, score = self.measures, score_of(self.measures.primary)
        parts += [
            f"{measures.heading(name)} {measures.written(name, module.latest[name])}"
            for name in measures.shown
            if score_of(name) == score and name in module.latest
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
        text = self.describe(trainer, pl_module)
        if self._bars:
            self._bars.remove_task(self._validating)
            self._bars.update(self._training, text=text)
        if trainer.is_global_zero and trainer.state.fn == "fit":
            sample = next((part.latest for part in trainer.callbacks if isinstance(part, Samples)), "")  # type: ignore[attr-defined]
            self._print(trainer, text + (f", sample: {sample[:60]!r}" if sample else ""))
            self._shown_at = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None
