"""The LightningModule: one optimizer step of any language model under any objective, and its validation."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer

from lmlab.data.batch import Batch
from lmlab.data.datamodule import share_of_rows
from lmlab.data.order import step_seed
from lmlab.errors import CannotGoOn, SkipStep, UserError
from lmlab.models import state as model_state
from lmlab.models.language_model import LanguageModel
from lmlab.training import parallel
from lmlab.training.objectives import Objective, StepContext, Terms
from lmlab.training.optimizers.groups import load_but_rates
from lmlab.training.schedules import Schedule
from lmlab.training.scoring import Scoring

if TYPE_CHECKING:
    from lmlab.training.callbacks.ema import EMA


COST = "cost"
"""The name under which callbacks can watch the cost of a validation; lower is better."""


class LanguageModeling(pl.LightningModule):
    """Trains ``model`` to minimise ``objective``.

    All randomness of a step is drawn from generators seeded with (seed, step, rank), so a resumed run needs no
    saved generator state, and ranks draw different dropout masks, unless they share the work of each layer.

    Args:
        objective: the loss to minimise.
        optimizer: called with the model, returns its optimizer.
        schedule: the factor on the learning rate; it observes the cost of each validation (see
            :class:`lmlab.training.scoring.Scoring`).
        total_steps: optimizer steps in the whole run.
        tokens_per_step: mean number of tokens that all ranks together read in one optimizer step.
        step_context: tools of the objective to prepare a batch.
        scoring: adds up the metrics of a validation.
        log_every: optimizer steps between rows of training metrics.
        carry_state: hand the state after each batch, detached, to the next one.
    """

    def __init__(
        self,
        model: LanguageModel,
        objective: Objective,
        optimizer: Callable[[torch.nn.Module], Optimizer],
        schedule: Schedule,
        *,
        seed: int,
        total_steps: int,
        tokens_per_step: float,
        step_context: StepContext,
        scoring: Scoring,
        log_every: int,
        carry_state: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.make_optimizer = optimizer
        self.optimizer: Optimizer | None = None
        self.schedule = schedule
        self.seed = seed
        self.total_steps = total_steps
        self.tokens_per_step = tokens_per_step
        self.step_context = step_context
        self.scoring = scoring
        self.log_every = log_every
        self.carry_state = carry_state
        self.carried: Any = None
        self._resumed_leaves: list[Any] | None = None
        self.validated_step = 0
        """The step of the newest validation."""
        self.all_validated_step = 0
        """The step of the newest validation that scored everything."""
        self.latest: dict[str, float] = {}
        """The newest value of every metric, for progress displays."""
        self.breakdown: dict[str, list[dict[str, Any]]] | None = None
        """Breakdowns of the metrics of the newest validation; ``None``: an earlier version computed it."""
        self.times: dict[str, float] = {}
        """Costs of training so far, for every row."""
        self.also: dict[str, float] = {}
        """Values from callbacks for the next row of training metrics."""
        self.judge: Callable[[Tensor, Tensor], None] | None = None
        """Called with loss (of this rank) and gradient norm before a step is applied; may raise :class:`SkipStep`."""
        self.steps_before = 0
        """Optimizer steps of the runs that this one continues."""
        self.first_optimizer_state: dict[str, Any] | None = None
        """The initial optimizer state, from another run."""
        self.first_carried_state: list[Any] | None = None
        """The initial carried state of all ranks, from another run."""
        self.ema: EMA | None = None
        """The callback that averages the weights, if there is one."""
        self._diverged_at: int | None = None
        """The first step whose loss was logged as NaN or infinite."""
        self._sums: dict[str, Tensor] = {}
        self._loss: Tensor | float = 0.0

    def configure_model(self) -> None:
        # Called again for every validation; the optimizer holds the parameters after the first call.
        if self.device_mesh is not None and not parallel.is_sharded(self.model):
            parallel.shard(self.model, self.device_mesh)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer = self.make_optimizer(self.model)
        if self.first_optimizer_state is not None:
            load_but_rates(optimizer, self.first_optimizer_state)
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule(step, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factor, "interval": "step"}}

    def on_train_start(self) -> None:
        if self.first_carried_state is not None:
            self._resume_carried(self.first_carried_state)
        if self._resumed_leaves is not None:
            with torch.no_grad():
                fresh = self.model(torch.zeros(1, 1, dtype=torch.int64, device=self.device), None).state
            self.carried = model_state.with_leaves(fresh, self._resumed_leaves, self.device)
            self._resumed_leaves = None

    def _resume_carried(self, whole: list[Any]) -> None:
        """Take this rank's part of the carried state of all ranks; the device is known once training starts."""
        if self.carry_state and not (len(whole) == 1 and whole[0] is None):
            self._resumed_leaves = model_state.part(whole, *share_of_rows(self.trainer))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # torch.manual_seed also queues a call, with a stack trace, for the first use of a GPU: 1 ms at every step.
        number = self.steps_before * self.trainer.accumulate_grad_batches + batch_idx
        seed = step_seed(self.seed, number, share_of_rows(self.trainer)[0])
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if not batch.fresh:
            batch = replace(batch, state=self.carried)
        batch = self._prepare(batch)
        terms = self.objective.terms(self.model, batch)
        if not isinstance(terms, Terms):
            name = type(self.objective).__name__
            raise UserError(f"objective: {name}.terms returned a {type(terms).__name__}, expected Terms")
        if self.carry_state:
            self.carried = model_state.detach(terms.output.state)
        # Lightning and the ranks average over the parts of a step; the step needs one mean over all its tokens.
        accumulate = self.trainer.accumulate_grad_batches
        parts = accumulate * share_of_rows(self.trainer)[1]
        weight, row_weight = terms.share * parts, batch.row_share * parts
        loss = terms.loss * weight
        for name, value in ({"loss": terms.loss} | terms.logs).items():
            self._add(name, value.detach() * weight)
        for name, value in terms.output.auxiliary.items():
            loss = loss + value * row_weight
            self._add(name, value.detach() * row_weight)
        if self.judge is not None:
            self._loss = self._loss + loss.detach() / accumulate
        return loss

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    @torch.no_grad()
    def _prepare(self, batch: Batch) -> Batch:
        seed = step_seed(self.seed, self.steps_before + self.global_step, 0)
        return self.objective.prepare(self.model, batch, replace(self.step_context, seed=seed))

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Apply the current step, unless a check finds it bad.

        Every optimizer calls the closure, which computes and checks the gradient, before it changes anything.
        """
        try:
            super().optimizer_step(*arguments, **named)
        except SkipStep:
            self.carried = None  # the state after the step may be as bad as its gradient
            if (scaler := getattr(self.trainer.precision_plugin, "scaler", None)) is not None:
                scaler.update()  # as after a step: the scaler has checked this gradient

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val is None and self.judge is None and not self.logs_at(self.global_step + 1):
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # fused optimizers would unscale in their step, after the clipping
        # The optimizer's lists: iterating over the network's modules at every step takes longer.
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = parallel.total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        self._sums["gradient_norm"] = norm
        if self.judge is not None:
            self.judge(torch.as_tensor(self._loss), norm)
        # On a GPU, clip without a condition, which would synchronise.
        if gradient_clip_val is not None and (norm.device.type != "cpu" or not norm <= gradient_clip_val):
            parallel.clip(parameters, float(gradient_clip_val), norm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        accumulate = self.trainer.accumulate_grad_batches
        if (batch_idx + 1) % accumulate:
            return
        if self.logs_at(self.global_step):
            row = dict(self.also)
            for name, total in self._sums.items():
                value = total if name == "gradient_norm" else total / accumulate
                row[f"train/{name}"] = float(self.trainer.strategy.reduce(value.float(), reduce_op="mean"))
            row["train/learning_rate"] = self._learning_rate_used()
            if self._diverged_at is None and not math.isfinite(row.get("train/loss", 0.0)):
                self._diverged_at = self.global_step
            self.record(row)
        self._sums.clear()
        self._loss = 0.0

    def logs_at(self, step: int) -> bool:
        """Return whether optimizer step ``step`` (counted from 1) gets a row of training metrics."""
        return step % self.log_every == 0 or step == self.total_steps

    def _learning_rate_used(self) -> float:
        group = self.trainer.optimizers[0].param_groups[0]
        return float(group["initial_lr"]) * self.schedule(self.global_step - 1, self.total_steps)

    @property
    def tokens_seen(self) -> int:
        """Return the training tokens that all ranks together have read so far."""
        return round(self.global_step * self.tokens_per_step)

    def record(self, metrics: dict[str, float]) -> None:
        """Send metrics of this step to every logger, with steps, tokens and time."""
        metrics = self.times | metrics
        self.latest |= metrics
        self._log(metrics)

    @rank_zero_only
    def _log(self, metrics: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics({**metrics, "tokens": self.tokens_seen}, step=self.global_step)

    def weights_to(self, mode: Literal["eval", "train", "ema"]) -> None:
        """Load the optimizer's weights for evaluation or training, which may differ, or their average."""
        parallel.reshard(self.model)
        if self.ema is not None:
            self.ema.exchange(self.model, mode == "ema")
        if hasattr(self.optimizer, mode):
            getattr(self.optimizer, mode)()

    def on_validation_start(self) -> None:
        self.weights_to("eval")

    def on_validation_end(self) -> None:  # after the callbacks, which save the best weights and write samples
        if self.trainer.state.fn == "fit":
            optimizer: Any = self.optimizer
            if hasattr(optimizer, "observe"):
                optimizer.observe(self.scoring.cost)
            self.schedule.observe(self.scoring.cost)
            if self.schedule.follows_validations:
                self._apply_schedule()
        self.weights_to("train")

    def _apply_schedule(self) -> None:
        """Set the learning rates of the next step again, after the schedule has seen a validation."""
        assert self.optimizer is not None
        factor = self.schedule(self.global_step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.scoring.update(self.model, batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        values, self.breakdown = self.scoring.compute()
        self.validated_step = self.global_step
        if self.trainer.datamodule.validates_all:  # type: ignore[attr-defined]
            self.all_validated_step = self.global_step
        # For callbacks that watch a metric; the rows themselves go through record().
        self.log_dict(values | {COST: self.scoring.cost}, logger=False)
        self.record(values)
        self._refuse_divergence(values)

    def _refuse_divergence(self, values: dict[str, float]) -> None:
        """End a run whose network has diverged, before callbacks save, sample or compare it.

        Args:
            values: metrics of the validation, the same on all ranks.

        Raises:
            CannotGoOn: a metric of the first split is not finite.
        """
        for name, value in values.items():
            if name.startswith(f"{self.scoring.splits[0]}/") and not math.isfinite(value):
                step = self.global_step if self._diverged_at is None else self._diverged_at
                heading = self.scoring.measures.heading(name)
                raise CannotGoOn(f"diverged at step {step}: {heading} after step {self.global_step} is {value}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["validated_step"] = self.validated_step
        checkpoint["all_validated_step"] = self.all_validated_step
        checkpoint["latest"] = dict(self.latest)
        checkpoint["breakdown"] = self.breakdown
        checkpoint["schedule"] = self.schedule.state_dict()
        states: list[Any] = [model_state.leaves(self.carried)]
        if self.trainer.world_size > 1:
            states = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(states, model_state.leaves(self.carried))
        each = self.trainer.world_size // share_of_rows(self.trainer)[1]  # ranks that read the same rows
        checkpoint["carried_state"] = model_state.join(states[::each])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validated_step = checkpoint["validated_step"]
        # Earlier versions scored everything in every validation.
        self.all_validated_step = checkpoint.get("all_validated_step", self.validated_step)
        self.latest = checkpoint["latest"]
        self.breakdown = checkpoint.get("breakdown")
        if state := checkpoint.get("schedule"):
            self.schedule.load_state_dict(state)
        self._resume_carried(checkpoint["carried_state"])
        # Lightning counts micro-batches; a step may have more of them now than when the checkpoint was written.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        for counters in (progress["total"], progress["current"]):
            counters |= dict.fromkeys(counters, done)
