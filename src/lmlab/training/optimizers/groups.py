"""Parameter groups for weight decay, and the choice of fused kernels."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lmlab.config.build import build
from lmlab.config.nodes import Config
from lmlab.config.targets import resolve_target
from lmlab.errors import UserError


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups of parameters: matrices (also embeddings) with decay, and vectors (gains, biases) without."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def fused(model: nn.Module, shards: bool = True) -> bool:
    """Return whether torch updates the parameters of ``model`` in one fused kernel on their device.

    Args:
        shards: the kernel supports shards, but not shards of several process groups at once.
    """
    parameters = list(model.parameters())
    meshes = {getattr(parameter, "device_mesh", None) for parameter in parameters}
    fits = len(meshes) == 1 and (shards or meshes == {None})
    return fits and all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def check_betas(betas: list[float]) -> tuple[float, float]:
    """Return the two betas. Raises ``UserError`` unless there are two in [0, 1)."""
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"optimizer.betas={betas}: expected two numbers in [0, 1)")
    return betas[0], betas[1]


def make_optimizer(section: Config, model: nn.Module) -> Optimizer:
    """Return the optimizer of a section ``optimizer`` for ``model``.

    The target is called with the network. A class of optimizers, like ``torch.optim.RMSprop``, is called with the
    trained parameters.

    Raises:
        UserError: as :func:`lmlab.config.build.build` does, or the target returned no optimizer.
    """
    target = resolve_target(section["_target_"], "optimizer")
    of_parameters = isinstance(target, type) and issubclass(target, Optimizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build(section)(trained if of_parameters else model)
    if not isinstance(optimizer, Optimizer):
        name = f"optimizer._target_={section['_target_']}"
        raise UserError(f"{name}: returned a {type(optimizer).__name__}, expected a torch.optim.Optimizer")
    return optimizer


def load_but_rates(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load the state of another run's optimizer of the same kind, but keep the learning rates of this one."""
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
        group.pop("initial_lr", None)
