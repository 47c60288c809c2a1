"""Handle micro-batches that do not fit into memory."""

import logging
import sys
from typing import cast

import pytorch_lightning as pl

from lmlab.config.experiment import Experiment
from lmlab.errors import CannotGoOn, Restart
from lmlab.runs import events
from lmlab.runs.run import Run
from lmlab.training.allocator import is_out_of_memory
from lmlab.training.module import LanguageModeling


class OutOfMemory(pl.Callback):
    """If a micro-batch does not fit, resumes the run from its last checkpoint with smaller ones and the same steps.

    The number of sequences that did not fit is a row of ``events.jsonl``: see :func:`fitting`. The run resumes in new
    processes, so that all memory is freed, and no other rank waits for the one that failed.

    Args:
        run: the run; ``experiment`` is its configuration with the current micro-batches.
        pieces: parts of a batch in a validation.
    """

    def __init__(self, run: Run, experiment: Experiment, pieces: int) -> None:
        self.run = run
        self.batch = experiment.batch
        self.action = experiment.trainer.out_of_memory
        self.rows = self.batch.size // (experiment.trainer.shares * experiment.trainer.accumulate)
        self.pieces = pieces
        self._began = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        cast(LanguageModeling, pl_module).scoring.pieces = self.pieces

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = True

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Record and report the batch that did not fit. Raises ``Restart``, or ``CannotGoOn`` if there is no remedy."""
        if not is_out_of_memory(exception):
            return
        if not self._began:
            raise CannotGoOn("the network alone does not fit into memory") from exception
        step = trainer.global_step + 1
        validating = trainer.validating
        rows = -(-self.batch.size // self.pieces) if validating else self.rows
        where = "validating" if validating else "training"
        text = f"step {step}: {where} on {rows} sequences of {self.batch.context} tokens does not fit into memory"
        if self.action == "fail":
            raise CannotGoOn(f"{text} (trainer.out_of_memory=halve uses smaller micro-batches)") from exception
        if rows == 1:
            raise CannotGoOn(f"{text}, and there are no smaller micro-batches") from exception
        if self.batch.carry_state and not validating:
            raise CannotGoOn(
                f"{text}, and batch.carry_state=true allows no micro-batches (choose a smaller batch.size or "
                "batch.context, or more trainer.devices)"
            ) from exception
        text += "; resuming from the last checkpoint with micro-batches of at most half the size"
        if not any(row["where"] == where and row["rows"] == rows for row in events.done(self.run, "halve")):
            events.record(self.run, step, "out_of_memory", "halve", where=where, rows=rows)
            logging.getLogger("lmlab").warning(text)
            print(f"{self.run.path.name}: {text}", file=sys.stderr)
        raise Restart(text) from exception


def fitting(run: Run, experiment: Experiment) -> tuple[Experiment, int]:
    """Return ``experiment`` with micro-batches that are expected to fit, and the parts of a batch in a validation.

    A micro-batch has at most half as many sequences as the smallest that did not fit; the number of
    micro-batches depends on the current number of devices.
    """
    trainer, size = experiment.trainer, experiment.batch.size
    if trainer.out_of_memory == "fail":
        return experiment, 1
    too_many = {
        where: min((row["rows"] for row in events.done(run, "halve") if row["where"] == where), default=None)
        for where in ("training", "validating")
    }
    accumulate, pieces = trainer.accumulate, 1
    if (limit := too_many["training"]) is not None:
        share = size // trainer.shares
        while share % accumulate or share // accumulate > limit // 2:
            accumulate += 1
    if (limit := too_many["validating"]) is not None:
        pieces = -(-size // (limit // 2))
    return experiment.with_options(trainer=trainer.node | {"accumulate": accumulate}), pieces
