"""End a run early: after a signal, on all ranks at the same step and with its state saved, or without progress."""

import signal
from typing import Any, NoReturn, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.trainer.states import TrainerFn
from torch import distributed

from lmlab.errors import Interrupted, check_least
from lmlab.processes import signals
from lmlab.training.callbacks.checkpoint import Checkpoint
from lmlab.training.module import COST, LanguageModeling


class Stopping(pl.Callback):
    """After a signal, writes a checkpoint before the next step and ends the run as ``Interrupted``.

    A running validation is abandoned: the resumed run begins with it. A run that is at its last step when the signal
    comes finishes.

    It comes before other callbacks that save, so that they do not save the same step again.
    """

    def __init__(self) -> None:
        self._ranks: Ranks | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Lightning's handler of SIGTERM starts a collective operation at any moment, and its loop another one at every
        # step, which synchronises with the GPU.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        if self._ranks is None:
            self._ranks = Ranks()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0 and (received := self._signal()):
            self._stop(trainer, received)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if received := self._signal():
            cast(LanguageModeling, pl_module).weights_to("train")
            self._stop(trainer, received)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set Lightning's counters so that its loop begins with an abandoned validation."""
        begun = int(trainer.validating)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        for counters in (progress["total"], progress["current"]):
            counters |= {"ready": begun, "started": begun, "processed": 0, "completed": 0}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._ranks is not None:
            self._ranks.hear()

    def _signal(self) -> signal.Signals | None:
        assert self._ranks is not None
        return self._ranks.exchange(signals.received())

    def _stop(self, trainer: pl.Trainer, received: signal.Signals) -> NoReturn:
        step = trainer.global_step
        if step == 0:
            raise Interrupted(f"told to stop by {received.name} before its first step")
        if trainer.state.fn == TrainerFn.FITTING:
            checkpoints = [callback for callback in trainer.callbacks if isinstance(callback, Checkpoint)]  # type: ignore[attr-defined]
            if not checkpoints:
                raise Interrupted(
                    f"told to stop by {received.name} at step {step}; its state is lost without callbacks.checkpoint"
                )
            checkpoints[0].save(trainer)
        raise Interrupted(f"told to stop by {received.name} at step {step}; its state is saved")


class Ranks:
    """Exchange of signals among the ranks of a run.

    At every call, a rank sends the signal that it has received and gets the signals that any rank sent at the last
    call. So no rank waits for another, and all ranks get the same answer at the same call, because all call equally
    often.
    """

    def __init__(self) -> None:
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        # A separate group on CPUs: its operations do not mix with others, and it does not wait for a GPU.
        self._group = distributed.new_group(backend="gloo") if several else None
        self._said: tuple[torch.Tensor, distributed.Work] | None = None

    def exchange(self, heard: signal.Signals | None) -> signal.Signals | None:
        """Send this rank's signal; return that of any rank at the last call (with a single rank: at this one)."""
        if self._group is None:
            return heard
        answer = self.hear()
        if answer is None:
            said = torch.tensor(heard or 0)
            work = distributed.all_reduce(said, distributed.ReduceOp.MAX, group=self._group, async_op=True)
            self._said = (said, work)
        return answer

    def hear(self) -> signal.Signals | None:
        """Wait for the signal sent at the last call, if there was one, and return it."""
        if self._said is None:
            return None
        said, work = self._said
        self._said = None
        work.wait()
        return signal.Signals(int(said)) if said else None


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Ends training after ``patience`` validations that are not better than the best by at least ``min_delta``.

    It watches the loss in nats per token, or the first metric of a task that is judged by decoded answers.
    """

    def __init__(self, patience: int = 3, min_delta: float = 0.0) -> None:
        check_least(1, "callbacks.early_stopping.", patience=patience)
        super().__init__(monitor=COST, mode="min", patience=patience, min_delta=min_delta)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Killed between its last checkpoint and its end, a run that had stopped would train on to the next validation.
        if self.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True
