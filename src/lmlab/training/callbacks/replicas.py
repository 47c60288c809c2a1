"""Detect a rank whose copy of the training state differs from that of the others."""

from collections import Counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from lmlab.errors import Fault, UserError

State = dict[str, int]
"""The checksum of every parameter and of every tensor of the optimizer's state."""


class Replicas(pl.Callback):
    """Compares the parameters and the optimizer's state of all ranks, which plain data parallelism keeps equal.

    A bit that flips in one rank's memory makes every later gradient wrong, without a visible effect on the loss. Ranks
    are also compared before each validation and each checkpoint, so that no damaged state is saved.

    Args:
        every: optimizer steps between comparisons.

    Raises:
        Fault: a rank differs; the message names it and the first tensor.
    """

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise UserError(
                f"callbacks.replicas.every={every}: expected at least 1 step (callbacks.replicas=null: never)"
            )
        self.every = every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if between_steps and trainer.global_step % self.every == 0:
            self.compare(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.compare(trainer, pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.compare(trainer, pl_module)

    def compare(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare now; called on every rank. Raises ``Fault`` on all of them if one differs."""
        if trainer.world_size == 1 or not isinstance(trainer.strategy, DDPStrategy):
            return
        states: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, checksums(pl_module, trainer.optimizers))
        message = difference(states)
        if message is not None:
            raise Fault(f"{message} (at step {trainer.global_step})")


def checksums(module: pl.LightningModule, optimizers: list[Any]) -> State:
    """Return the checksums of all parameters of ``module`` and all tensors of the optimizers' states."""
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            sums[name] = checksum(parameter)
            for optimizer in optimizers:
                for key, value in sorted(optimizer.state.get(parameter, {}).items()):
                    if isinstance(value, Tensor):
                        sums[f"{name} ({key} of the optimizer)"] = checksum(value)
    values = torch.stack(
        [value.to(module.device) for value in sums.values()]
    ).tolist()  # synchronises with a GPU only once
    return dict(zip(sums, values, strict=True))


def checksum(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor's elements as integers modulo 2^64: order-independent; any flipped bit changes it."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().view(whole).sum(dtype=torch.int64)


def difference(states: list[State]) -> str | None:
    """Describe which ranks differ from the majority (of two, from rank 0) and the first such tensor; ``None``: none."""
    counts = Counter(tuple(state.items()) for state in states)
    if len(counts) == 1:
        return None
    usual = dict(counts.most_common(1)[0][0])  # that of the lowest rank in a tie
    odd = [rank for rank, state in enumerate(states) if state != usual]
    first = next(name for name in {**usual, **states[odd[0]]} if usual.get(name) != states[odd[0]].get(name))
    names = f"rank {odd[0]} differs" if len(odd) == 1 else f"ranks {', '.join(map(str, odd))} differ"
    return f"{names} from rank {states.index(usual)}, first in {first}"
