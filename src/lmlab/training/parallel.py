"""One model on several processes: its parameters in shards, its layers' work shared, or computed twice to save memory.

Everything here uses torch's ``fully_shard`` (FSDP2) and DTensor. They are imported where they are used, because that
takes half as long as importing torch. Stored parameters have the same layout for any number of processes, so
checkpoints and weights fit any number of them.

Dimension legend: B sequences, T tokens, N outputs of a linear layer, n a process's share of them.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.distributed._functional_collectives as collectives
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.utils.checkpoint import checkpoint

from lmlab.config.experiment import TrainerOptions
from lmlab.errors import UserError
from lmlab.models.channels.channel import Channel
from lmlab.models.language_model import LanguageModel
from lmlab.models.layers import Split
from lmlab.models.mixers.mixer import Mixer
from lmlab.runs.files import write_whole


def check(model: nn.Module, optimizer: Any, trainer: TrainerOptions, carry_state: bool) -> None:
    """Refuse a ``trainer`` section that a model does not support. Raises ``UserError``."""
    ranks = trainer.tensor_parallel
    for _, split in splits(model) if ranks > 1 else ():
        split.check(ranks)
        if carry_state and split.state:
            raise UserError(f"trainer.tensor_parallel={ranks}: must be 1 with batch.carry_state=true and {split.what}")
    if trainer.strategy == "fsdp" and hasattr(optimizer, "eval"):
        raise UserError(
            "trainer.strategy=fsdp: not with an optimizer that evaluates at other weights than it trains at"
        )
    if trainer.activation_checkpointing and not isinstance(model, LanguageModel):
        raise UserError("trainer.activation_checkpointing=true: only for models that are made of lmlab's own blocks")


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share ``model`` among the processes of ``mesh``, whose dimensions are ``data_parallel`` and ``tensor_parallel``.

    Layers with a ``split()`` are split over the second dimension, and their parts sharded over the first. Other
    parameters are sharded over all processes: each process of a tensor-parallel group computes them, and the mean of
    the gradients keeps them equal. Blocks are gathered one at a time; embedding, head and closing norm stay whole from
    the forward pass to the end of the backward pass, since the head is called outside of the model's forward pass.
    """
    from torch.distributed.fsdp import fully_shard

    tensor = mesh["tensor_parallel"]
    everyone = mesh._flatten()
    if tensor.size() > 1:
        for layer, split in splits(model):
            fully_shard(split_layer(layer, split, tensor), mesh=mesh["data_parallel"])
    for layer in layers(model):
        fully_shard(layer, mesh=everyone)
    fully_shard(model, mesh=everyone)


def is_sharded(model: nn.Module) -> bool:
    """Return whether :func:`shard` has been applied to ``model``."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # where shard() has imported it
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


def layers(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model: the entries of its outermost lists of modules."""
    blocks = []
    for child in model.children():
        blocks += list(child) if isinstance(child, nn.ModuleList) else layers(child)
    return blocks


def splits(model: nn.Module) -> Iterator[tuple[nn.Module, Split]]:
    """Yield the mixers and channel mixers of a model's blocks whose work can be shared, with their splits."""
    for block in layers(model):
        for layer in block.children():
            if isinstance(layer, (Mixer, Channel)) and (split := layer.split()) is not None:
                yield layer, split


def split_layer(layer: nn.Module, split: Split, mesh: DeviceMesh) -> list[nn.Module]:
    """Share the linear layers of ``layer`` among the processes of ``mesh``, and return them."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan: Any = dict.fromkeys(split.outputs, ColwiseParallel()) | dict.fromkeys(split.inputs, RowwiseParallel())
    parallelize_module(layer, mesh, plan)
    for name, blocks in split.outputs.items():
        if len(blocks) > 1:
            layer.get_submodule(name).register_forward_hook(Exchange(blocks, mesh))
    return [layer.get_submodule(name) for name in plan]


class Exchange:
    """Gives each process its share of every block of outputs, from one stored matrix cut into equal parts.

    Args:
        blocks: sizes of the blocks, in order; each is divisible by the number of processes.
    """

    def __init__(self, blocks: list[int], mesh: DeviceMesh) -> None:
        ranks, rank = mesh.size(), mesh.get_local_rank()
        stored = sum(blocks) // ranks
        receivers = torch.cat([torch.arange(ranks).repeat_interleave(size // ranks) for size in blocks])
        counts = torch.stack([torch.bincount(part, minlength=ranks) for part in receivers.split(stored)])
        self.sent, self.received = counts[rank].tolist(), counts[:, rank].tolist()
        self.order_n = receivers[rank * stored : (rank + 1) * stored].argsort(stable=True)
        self.mesh = mesh

    def __call__(self, module: nn.Module, inputs: Any, y_BTn: Tensor) -> Tensor:
        sent_nBT = y_BTn.movedim(-1, 0)[self.order_n.to(y_BTn.device)]
        got_nBT = collectives.all_to_all_single_autograd(sent_nBT, self.received, self.sent, self.mesh)
        return got_nBT.movedim(0, -1).contiguous()


def recompute(model: nn.Module) -> None:
    """Make each block keep only its input for the backward pass, and recompute the rest (Chen et al. 2016)."""
    for layer in layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def by_mesh(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Return ``tensors`` in groups that are sharded over the same processes, for operations on several tensors."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        key = tuple(getattr(tensor, name, None) for name in ("device_mesh", "placements"))  # attributes of shards only
        groups.setdefault(key, []).append(tensor)
    return list(groups.values())


def total_norm(gradients: list[Tensor]) -> Tensor:
    """Return the norm of all gradients together, over all shards."""
    norms = [torch.nn.utils.get_total_norm(group) for group in by_mesh(gradients)]
    whole = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    return whole[0] if len(whole) == 1 else torch.linalg.vector_norm(torch.stack(whole))


def clip(parameters: list[Tensor], limit: float, norm: Tensor) -> None:
    """Scale gradients whose norm is ``norm`` down to ``limit``."""
    for group in by_mesh(parameters):
        torch.nn.utils.clip_grads_with_norm_(group, limit, norm)


def reshard(model: nn.Module) -> None:
    """Free the parameters that a forward pass has gathered; the next one gathers them again."""
    if is_sharded(model):
        cast(Any, model).reshard()


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of the whole model; if it is in shards, only on rank 0. Called on every rank."""
    if not is_sharded(model):
        return model.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights: dict[str, Any] = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name and name in weights:
            weights[name] = weights[first[id(parameter)]]  # gathered twice, but one matrix
    return weights


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of the whole model to ``path`` (safetensors), whole or not at all. Called on every rank."""
    weights = whole_weights(model)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        whole = cast(nn.Module, SimpleNamespace(state_dict=lambda: weights))
        write_whole(path, lambda temporary: save_model(whole, str(temporary)))
