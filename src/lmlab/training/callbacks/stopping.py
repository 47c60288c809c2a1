"""Ending a run that is told to stop, with its state saved, on all ranks at the same step."""

from __future__ import annotations

import signal
from typing import Any, NoReturn, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import distributed

from lmlab.errors import Interrupted
from lmlab.processes import signals
from lmlab.training.callbacks.checkpoint import Checkpoint
from lmlab.training.module import LanguageModeling


class Stopping(pl.Callback):
    """After a signal, writes a checkpoint before the next step and ends the run as ``Interrupted``.

    A validation under way is given up: the run that goes on from the checkpoint begins with it. A run that is at its
    last step when the signal comes finishes.

    Before other callbacks that save something: what is written here need not be written by them as well.
    """

    def __init__(self) -> None:
        self._ranks: Ranks | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Lightning's handler of SIGTERM starts a collective operation whatever the rank is doing, and its loop another
        # at every step, for which a GPU has to be waited for.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        if self._ranks is None:
            self._ranks = Ranks()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0 and (told := self._told()):
            self._stop(trainer, told)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if told := self._told():
            cast(LanguageModeling, pl_module).weights_to("train")
            self._stop(trainer, told)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say in Lightning's counters whether a validation was given up, for its loop to begin with."""
        begun = int(trainer.validating)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        for counters in (progress["total"], progress["current"]):
            counters |= {"ready": begun, "started": begun, "processed": 0, "completed": 0}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._ranks is not None:
            self._ranks.hear()

    def _told(self) -> signal.Signals | None:
        assert self._ranks is not None
        return self._ranks.told(signals.received())

    def _stop(self, trainer: pl.Trainer, told: signal.Signals) -> NoReturn:
        step = trainer.global_step
        if step == 0:
            raise Interrupted(f"told to stop by {told.name} before its first step")
        if trainer.state.fn == TrainerFn.FITTING:
            checkpoints = [callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)]  # type: ignore[attr-defined]
            if not checkpoints:
                raise Interrupted(
                    f"told to stop by {told.name} at step {step}; without callbacks.checkpoint it is lost"
                )
            checkpoints[0].save(trainer)
        raise Interrupted(f"told to stop by {told.name} at step {step}; its state is saved")


class Ranks:
    """What the ranks of a run have heard, made known to all of them.

    Each says what it has heard at every call, and learns at the next what any of them had said: nobody waits for the
    others, and all get the same answer at the same call, because all call equally often.
    """

    def __init__(self) -> None:
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        # A group of its own, of CPUs: its operations mix with no others, and a GPU's queue is not waited for.
        self._group = distributed.new_group(backend="gloo") if several else None
        self._said: tuple[torch.Tensor, distributed.Work] | None = None

    def told(self, heard: signal.Signals | None) -> signal.Signals | None:
        """Say what this rank has heard; return what any had by the last call (alone: by this one)."""
        if self._group is None:
            return heard
        answer = self.hear()
        if answer is None:
            said = torch.tensor(heard or 0)
            work = distributed.all_reduce(said, distributed.ReduceOp.MAX, group=self._group, async_op=True)
            self._said = (said, work)
        return answer

    def hear(self) -> signal.Signals | None:
        """Wait for what was said at the last call, if anything was, and return it."""
        if self._said is None:
            return None
        said, work = self._said
        self._said = None
        work.wait()
        return signal.Signals(int(said)) if said else None
