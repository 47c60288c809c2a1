"""Non-monotonically triggered averaged SGD (Merity, Keskar & Socher 2018, algorithm 1).

Plain SGD until a validation loss is above the lowest loss from more than n validations ago. From the weights w_T of
that moment on, evaluation uses the mean (w_T + ... + w_k) / (k - T + 1), while SGD continues from w_k.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lmlab.errors import check_least
from lmlab.training.optimizers.groups import decay_groups, fused


def nt_asgd(
    model: nn.Module, lr: float, patience: int = 5, momentum: float = 0.0, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """Return NT-ASGD with decay of the matrices.

    Args:
        patience: n, the newest validations that a loss is not compared with.

    Raises:
        UserError: a setting out of its range.
    """
    check_least(0, "optimizer.", lr=lr, momentum=momentum, weight_decay=weight_decay)
    check_least(1, "optimizer.", patience=patience)
    return NTASGD(decay_groups(model, weight_decay), lr, momentum, fused(model), patience)


class NTASGD(torch.optim.SGD):
    """SGD that also keeps the mean of its weights once :meth:`observe` has seen validation losses stagnate.

    The losses seen and the number of weights in the mean are entries of the parameter groups, the means of the
    parameters' state, so ``state_dict`` includes them.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, fused: bool, patience: int) -> None:
        super().__init__(groups, lr, momentum, fused=fused)
        self.patience = patience
        self.averaged_weights_in_place = False
        for group in self.param_groups:
            group |= {"losses": (), "triggered": False, "averaged": 0}

    def observe(self, validation_loss: float) -> None:
        """Record a validation loss; start averaging if losses have stagnated."""
        losses = self.param_groups[0]["losses"]
        triggered = len(losses) > self.patience and validation_loss > min(losses[: -self.patience])
        for group in self.param_groups:
            group["losses"] = (*losses, validation_loss)
            group["triggered"] = group["triggered"] or triggered

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take a step of SGD and update the mean; return the result of ``closure``."""
        loss = None
        if closure is not None:  # first: the closure may raise to skip the step
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["triggered"] and not group["averaged"]:
                group["averaged"] = 1
                for parameter in group["params"]:
                    self.state[parameter]["average"] = parameter.clone()
        super().step()
        for group in self.param_groups:
            if group["averaged"]:
                group["averaged"] += 1
                means = [self.state[parameter]["average"] for parameter in group["params"]]
                torch._foreach_lerp_(means, group["params"], 1 / group["averaged"])
        return loss

    def eval(self) -> None:
        """Load the mean weights, if there are any."""
        self._exchange(True)

    def train(self) -> None:
        """Restore the weights of training."""
        self._exchange(False)

    @torch.no_grad()
    def _exchange(self, averaged: bool) -> None:
        if averaged is self.averaged_weights_in_place:
            return
        self.averaged_weights_in_place = averaged
        for group in self.param_groups:
            for parameter in group["params"] if group["averaged"] else ():
                mean = self.state[parameter]["average"]
                kept = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(kept)
