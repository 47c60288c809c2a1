"""Steps that are not to be applied: a loss or gradient that is not finite, and a loss far above those before."""

import logging
import math
import statistics
import sys
from collections import deque
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from lmlab.errors import CannotGoOn, Restart, SkipStep, UserError
from lmlab.runs import events
from lmlab.runs.run import Run
from lmlab.training.module import LanguageModeling

Action = Literal["stop", "skip", "roll_back"]
NORMAL = 1.4826
"""A normal distribution's standard deviation, in its median absolute deviations."""


class BadSteps(pl.Callback):
    """Looks at the loss and the gradient norm of every step before it changes the weights, the same on all ranks.

    ``stop`` ends the run. ``skip`` leaves weights and optimizer as they were; step count, schedule and data go on, and
    carried state starts empty. ``roll_back`` goes on from the last checkpoint, in new processes, with the batches that
    come after the bad one instead of those since the checkpoint. Every such step is a row of ``events.jsonl``.

    A spike is a loss more than ``threshold`` robust standard deviations (1.4826 times the median absolute deviation;
    Iglewicz & Hoaglin 1993) above the median of the last ``window`` losses that were not bad, once there are as many.

    A gradient that overflows in 16-bit floating point while the loss is finite is no bad step: the loss's scale is
    being sought, and such steps are left out by the scaler itself.

    To decide, a GPU has to be waited for in every step, and ranks exchange two numbers. With both actions ``None``
    nothing is looked at.

    Args:
        at_most: steps that a run skips or rolls back; one more stops it.
        run: supplied by the run.

    Raises:
        UserError: a number out of its range.
    """

    def __init__(
        self,
        run: Run,
        not_finite: Action | None = "stop",
        spike: Action | None = None,
        threshold: float = 10.0,
        window: int = 100,
        at_most: int = 10,
    ) -> None:
        if not threshold > 0:
            raise UserError(f"callbacks.bad_steps.threshold={threshold}: expected a number above 0")
        if window < 2:
            raise UserError(f"callbacks.bad_steps.window={window}: expected at least 2 steps")
        if at_most < 0:
            raise UserError(f"callbacks.bad_steps.at_most={at_most}: expected at least 0 steps")
        self.run = run
        self.actions = {"not_finite": not_finite, "spike": spike}
        self.threshold = threshold
        self.at_most = at_most
        self.losses: deque[float] = deque(maxlen=window)
        self.skipped = 0
        self.rolled_back = len(events.done(run, "roll_back"))
        self._said: set[str] = set()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if any(self.actions.values()):
            cast(LanguageModeling, pl_module).judge = lambda loss, norm: self.judge(trainer, loss, norm)

    def judge(self, trainer: pl.Trainer, loss: Tensor, norm: Tensor) -> None:
        """Do what is to be done about the step under way; return if it is a good one.

        Args:
            loss: mean over this rank's micro-batches.
            norm: of the whole gradient.

        Raises:
            SkipStep, Restart, CannotGoOn: it is a bad one.
        """
        both = torch.stack([loss.float(), norm.to(loss.device).float()])
        loss_now, norm_now = cast(Tensor, trainer.strategy.reduce(both, reduce_op="mean")).tolist()
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not math.isfinite(loss_now) or not (scaled or math.isfinite(norm_now)):
            what, limit = "not_finite", None
        elif self.actions["spike"] and loss_now > (limit := self.limit()):
            what = "spike"
        else:
            self.losses.append(loss_now)
            return
        action = self.actions[what]
        if action is None:
            return
        step = trainer.global_step + 1
        text = f"step {step}: the loss is {loss_now:.4g} and the gradient norm {norm_now:.4g}"
        text += "" if limit is None else f", a spike is a loss above {limit:.4g}"
        if action != "stop" and self.skipped + self.rolled_back >= self.at_most:
            text += f"; callbacks.bad_steps.at_most={self.at_most} such steps were left out before"
            action = "stop"
        if trainer.is_global_zero:
            numbers = {"loss": loss_now, "gradient_norm": norm_now} | ({} if limit is None else {"limit": limit})
            events.record(self.run, step, what, action, **numbers)
        if action == "skip":
            self.skipped += 1
            self._say(trainer, what, f"{text}; it is skipped")
            raise SkipStep
        trainer.strategy.barrier()  # a rank that ends may take the others with it: not before the row is written
        if action == "roll_back":
            text += "; it goes back to the last checkpoint and leaves out the data since"
            self._say(trainer, what, text)
            raise Restart(text)
        raise CannotGoOn(
            f"{'diverged at ' if what == 'not_finite' else ''}{text} (callbacks.bad_steps says what to do about it)"
        )

    def limit(self) -> float:
        """The largest loss that is no spike."""
        if len(self.losses) < cast(int, self.losses.maxlen):
            return math.inf
        middle = statistics.median(self.losses)
        return middle + self.threshold * NORMAL * statistics.median(abs(loss - middle) for loss in self.losses)

    def _say(self, trainer: pl.Trainer, what: str, text: str) -> None:
        """Into the log; on the terminal the first of its kind."""
        if not trainer.is_global_zero:
            return
        logging.getLogger("lmlab").warning(text)
        if what not in self._said:
            print(f"{self.run.path.name}: {text} (every one: {self.run.events})", file=sys.stderr)
            self._said.add(what)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = cast(LanguageModeling, pl_module)
        if module.judge is not None and module.logs_at(trainer.global_step):
            module.also["train/bad_steps"] = self.skipped + self.rolled_back

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses.extend(state_dict["losses"])
        self.skipped = state_dict["skipped"]
