"""Progress of one run: on its terminal, and as heartbeats for other processes.

A terminal shows a bar with rate and time left, other output an occasional line. After each validation a line shows its
primary metric and the beginning of the sample.
"""

import time
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lmlab.metrics import TRAINING_LOSS, Measures, score_of
from lmlab.numerals import written
from lmlab.progress import Pace
from lmlab.runs.heartbeat import Heartbeat, Phase
from lmlab.runs.run import Run
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

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
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

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
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

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.write(trainer, pl_module, "training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer, pl_module, "validating")

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
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
