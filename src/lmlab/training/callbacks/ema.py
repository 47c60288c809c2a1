"""An exponential moving average of the trained weights."""

from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lmlab.data.datamodule import LanguageDataModule
from lmlab.errors import UserError
from lmlab.training import parallel
from lmlab.training.module import LanguageModeling


class EMA(pl.Callback):
    """Averages the weights of all steps; the average is scored in every validation and saved as ``ema.safetensors``.

    After optimizer step t, counted from 1, with weights w_t:

        d_t = min(decay, (1 + t) / (10 + t))
        m_t = d_t m_(t-1) + (1 - d_t) w_t,    m_0 = w_0

    The second argument of the minimum limits the influence of the random initial weights. Averages have at least single
    precision. Training continues from w_t and is the same as without.

    Raises:
        UserError: a decay out of its range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.ema.decay={decay}: expected a number in [0, 1)")
        self.decay = decay
        self._means: dict[str, Tensor] = {}
        self._trained: list[Tensor] | None = None
        """The weights of training, while the model holds the averages."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        module, data = cast(LanguageModeling, pl_module), cast(LanguageDataModule, cast(Any, trainer).datamodule)
        if module.ema is None:
            module.ema = self
            module.scoring.score_again("ema")
            data.again.append(module.scoring.splits[0])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        model = cast(LanguageModeling, pl_module).model
        if parallel.is_sharded(model):
            raise UserError("trainer.strategy=fsdp: not with callbacks=ema (choose strategy=ddp)")
        for name, parameter in _weights(model).items():
            start = self._means.get(name, parameter.detach())  # of a checkpoint, if there is one
            self._means[name] = start.to(
                parameter.device, torch.promote_types(parameter.dtype, torch.float32), copy=True
            )

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step, means = trainer.global_step, list(self._means.values())
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = _weights(cast(LanguageModeling, pl_module).model).values()
        torch._foreach_lerp_(means, [w.to(mean.dtype) for w, mean in zip(weights, means, strict=True)], 1 - decay)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        module = cast(LanguageModeling, pl_module)
        if batch_idx == 0:
            splits = module.scoring.splits
            module.weights_to("ema" if splits[dataloader_idx % len(splits)] == "ema" else "eval")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        cast(LanguageModeling, pl_module).weights_to("eval")

    @torch.no_grad()
    def exchange(self, model: nn.Module, in_place: bool) -> None:
        """Replace the weights of ``model`` by the averages (``in_place``), or restore them."""
        if in_place is (self._trained is not None):
            return
        weights = _weights(model)
        if in_place:
            self._trained = [weight.clone() for weight in weights.values()]
        for number, (name, weight) in enumerate(weights.items()):
            weight.copy_(self._means[name] if in_place else cast(list[Tensor], self._trained)[number])
        if not in_place:
            self._trained = None

    def state_dict(self) -> dict[str, Any]:
        return {"means": self._means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._means = state_dict["means"]


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained weights by name, shared ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
