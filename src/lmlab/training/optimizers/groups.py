"""Parameter groups for weight decay, and the choice of fused kernels."""

from typing import Any

from torch import nn

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


def check(**options: float) -> None:
    """Refuse a negative learning rate, decay or momentum. Raises ``UserError``."""
    for option, value in options.items():
        if value < 0:
            raise UserError(f"optimizer.{option}={value}: expected at least 0")


def check_betas(betas: list[float]) -> tuple[float, float]:
    """Return the two betas. Raises ``UserError`` unless there are two in [0, 1)."""
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"optimizer.betas={betas}: expected two numbers in [0, 1)")
    return betas[0], betas[1]
