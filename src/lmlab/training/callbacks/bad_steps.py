"""Handle bad steps: a loss or gradient that is not finite, or a loss far above earlier ones."""

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
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


class BadSteps(pl.Callback):
    """Checks the loss and the gradient norm of each step before it changes the weights, with one decision on all ranks.

    ``stop`` ends the run. ``skip`` does not change weights and optimizer; step count, schedule and data advance, and
    carried state starts empty. ``roll_back`` resumes from the last checkpoint, in new processes, and leaves out the
    batches between the checkpoint and the bad step, including that of the bad step. Every bad step is a row of
    ``events.jsonl``.

    A spike is a loss more than ``threshold`` robust standard deviations (1.4826 times the median absolute deviation;
    Iglewicz & Hoaglin 1993) above the median of the last ``window`` losses that were not bad, once there are as many.

    A gradient that overflows in 16-bit floating point while the loss is finite is not a bad step: the scaler searches
    for the scale of the loss and skips such steps itself.

    The check synchronises with the GPU in every step, and ranks exchange two numbers. With both actions ``None`` there
    is no check.

    Args:
        at_most: limit of steps that a run skips or rolls back; one more stops the run.
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
        """Check the current step; return if it is good.

        Args:
            loss: mean over this rank's micro-batches.
            norm: norm of the whole gradient.

        Raises:
            SkipStep, Restart, CannotGoOn: the step is bad.
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
            text += f"; callbacks.bad_steps.at_most={self.at_most} such steps were skipped or rolled back before"
            action = "stop"
        if trainer.is_global_zero:
            numbers = {"loss": loss_now, "gradient_norm": norm_now} | ({} if limit is None else {"limit": limit})
            events.record(self.run, step, what, action, **numbers)
        if action == "skip":
            self.skipped += 1
            self._say(trainer, what, f"{text}; skipping the step")
            raise SkipStep
        trainer.strategy.barrier()  # the end of a rank may end the others: wait until the row is written
        if action == "roll_back":
            text += "; rolling back to the last checkpoint and leaving out the data since then"
            self._say(trainer, what, text)
            raise Restart(text)
        raise CannotGoOn(
            f"{'diverged at ' if what == 'not_finite' else ''}{text} (see callbacks.bad_steps for other actions)"
        )

    def limit(self) -> float:
        """Return the largest loss that is not a spike."""
        if len(self.losses) < cast(int, self.losses.maxlen):
            return math.inf
        middle = statistics.median(self.losses)
        return middle + self.threshold * NORMAL * statistics.median(abs(loss - middle) for loss in self.losses)

    def _say(self, trainer: pl.Trainer, what: str, text: str) -> None:
        """Write a message to the log, and the first of each kind to the terminal."""
        if not trainer.is_global_zero:
            return
        logging.getLogger("lmlab").warning(text)
        if what not in self._said:
            print(f"{self.run.path.name}: {text} (all of them: {self.run.events})", file=sys.stderr)
            self._said.add(what)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        module = cast(LanguageModeling, pl_module)
        if module.judge is not None and module.logs_at(trainer.global_step):
            module.also["train/bad_steps"] = self.skipped + self.rolled_back

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses.extend(state_dict["losses"])
        self.skipped = state_dict["skipped"]
