"""Checkpoints of a run whose parameters are in shards: written by all ranks at once, and read on any number of them.

A run with shards may resume from the file of a run without, and vice versa. They differ only in the keys of the
optimizer's state: names of parameters with shards, their numbers in the optimizer's order without.
"""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.load import _load_distributed_checkpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict, set_optimizer_state_dict


class FSDP(ModelParallelStrategy):
    """Lightning's strategy, which also resumes from the checkpoint of a run without shards."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        if Path(checkpoint_path).is_dir():
            return super().load_checkpoint(checkpoint_path, weights_only)
        checkpoint: dict[str, Any] = torch.load(
            checkpoint_path, map_location="cpu", mmap=True, weights_only=weights_only
        )
        assert self.model is not None
        whole = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.model, checkpoint.pop("state_dict"), options=whole)
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint.pop("optimizer_states"), strict=True):
            ordered = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
            set_optimizer_state_dict(self.model, optimizer, _renamed(state, dict(enumerate(ordered))), options=whole)
        return checkpoint


def read_shards(folder: Path) -> dict[str, Any]:
    """Return the checkpoint in ``folder`` as a run without shards would have written it."""
    checkpoint = _load_distributed_checkpoint(folder)
    checkpoint["optimizer_states"] = []
    while (state := checkpoint.pop(f"optimizer_{len(checkpoint['optimizer_states'])}", None)) is not None:
        ordered = [name for group in state["param_groups"] for name in group["params"]]
        checkpoint["optimizer_states"].append(_renamed(state, {name: number for number, name in enumerate(ordered)}))
    return checkpoint


def _renamed(optimizer_state: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    groups = optimizer_state["param_groups"]
    return {
        "state": {names[old]: state for old, state in optimizer_state["state"].items()},
        "param_groups": [group | {"params": [names[old] for old in group["params"]]} for group in groups],
    }
