"""End a rank that hangs, after writing the stacks of all its threads."""

import faulthandler
import signal
import time
from typing import IO, Any

import pytorch_lightning as pl

from lmlab.errors import UserError
from lmlab.processes import stacks
from lmlab.runs.run import Run

SECONDS_TO_DUMP = 5.0
"""Seconds from writing the stacks to the end of the process: the launcher ends all ranks after the first has ended."""
FIRST = 4
"""Factor on the limit for the first batch of training and of a validation, which may compile the network."""


class Watchdog(pl.Callback):
    """Ends a rank on which no batch ended for ``seconds``, in training, validation or between them.

    The rank first writes the stacks of all of its threads to ``stacks/rank-<rank>.txt`` in the run directory
    (:func:`lmlab.processes.stacks.hung` reads them), then dies of SIGALRM. Ranks that wait for one that hangs time out
    with it and write their stacks too. Neither depends on running Python code: ``faulthandler`` writes in a thread that
    does not need the interpreter's lock, and a timer of the kernel kills.

    Args:
        seconds: limit of seconds without progress.
        run: supplied by the run.
    """

    def __init__(self, run: Run, seconds: float = 900) -> None:
        if not seconds > 0:
            raise UserError(
                f"callbacks.watchdog.seconds={seconds}: expected more than 0 (callbacks.watchdog=null: none)"
            )
        self.run = run
        self.seconds = seconds
        self._file: IO[str] | None = None
        self._allowed = 0.0
        self._armed_at = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._file is None:
            self._file = stacks.open_for(self.run, trainer.global_rank)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._arm(FIRST * self.seconds)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._arm(FIRST * self.seconds)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._arm(self.seconds)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._arm(self.seconds)

    def wait(self) -> None:
        """Begin the limit again; called while a batch waits for its data, which a preparation ends or fails."""
        if self._file is not None:
            self._arm(self.seconds)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._disarm()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._disarm()

    def _arm(self, seconds: float) -> None:
        """Set the time at which this rank counts as hanging to ``seconds`` from now."""
        now = time.monotonic()
        # Setting it starts a thread, so not after every batch.
        if self._allowed == seconds and now - self._armed_at < min(1.0, seconds / 10):
            return
        assert self._file is not None
        self._allowed, self._armed_at = seconds, now
        faulthandler.dump_traceback_later(seconds, file=self._file)
        stacks.drop(self._file)
        signal.setitimer(signal.ITIMER_REAL, seconds + SECONDS_TO_DUMP)

    def _disarm(self) -> None:
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        stacks.close(self._file)
        self._file, self._allowed = None, 0.0
