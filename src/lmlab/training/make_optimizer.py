"""Build the optimizer of a configuration for a network."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from lmlab.config import Config, build
from lmlab.errors import UserError
from lmlab.targets import resolve_target


def make_optimizer(section: Config, model: nn.Module) -> Optimizer:
    """Return the optimizer of a section ``optimizer`` for ``model``.

    The target is called with the network. A class of optimizers, like ``torch.optim.RMSprop``, is called with the
    trained parameters.

    Raises:
        UserError: as :func:`lmlab.config.build` does, or the target returned no optimizer.
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
