"""The inputs of a plan: the devices, and the work of a configuration, independent of its distribution."""

from dataclasses import dataclass, field
from math import gcd, isfinite
from typing import Any

from torch import nn

from lmlab.config.experiment import Experiment
from lmlab.errors import UserError, check_least
from lmlab.models.language_model import LanguageModel
from lmlab.models.sizes import flops_per_token, state_bytes
from lmlab.planning.footprint import Footprint, footprint, head_bytes
from lmlab.planning.memory import average_bytes, optimizer_bytes
from lmlab.training.devices import Device
from lmlab.training.optimizers.groups import make_optimizer

LINK_SHARE = 0.75
"""Share of a link's nominal bandwidth that collectives achieve."""


@dataclass(frozen=True)
class Cluster:
    """Devices of one kind.

    Args:
        device: kind of the devices.
        devices: number of devices.
        per_node: devices in a machine.
        network: GB/s in each direction from a device to other machines.
        efficiency: share of the peak that training reaches.
        price: dollars for a device an hour; ``None``: unknown.

    Raises:
        UserError: a number out of range, or devices that do not fill their machines.
    """

    device: Device
    devices: int
    per_node: int
    network: float
    efficiency: float
    price: float | None

    def __post_init__(self) -> None:
        check_least(1, devices=self.devices, devices_per_node=self.per_node)
        if not (isfinite(self.network) and self.network > 0):
            raise UserError(f"network={self.network}: expected a number above 0")
        if self.price is not None and not (isfinite(self.price) and self.price >= 0):
            raise UserError(f"price={self.price}: expected a number of at least 0")
        if self.devices > self.per_node and self.devices % self.per_node:
            raise UserError(f"devices={self.devices}: expected a multiple of devices_per_node={self.per_node}")

    @property
    def nodes(self) -> int:
        return max(1, self.devices // self.per_node)

    def seconds(self, size: float, group: int, within_node: bool) -> float:
        """Return the seconds in which a ring of ``group`` devices passes ``size`` bytes in pieces once around."""
        bandwidth = self.device.link if within_node else min(self.network, self.device.link)
        return size * (group - 1) / group / (bandwidth * 1e9 * LINK_SHARE)


@dataclass(frozen=True)
class Load:
    """The work of a configuration, independent of the devices; all bytes are those of a whole network.

    Attributes:
        optimizer: bytes of the optimizer's state.
        average: bytes of a moving average of the weights, which every device keeps whole; 0: there is none.
        flops: operations of the forward pass of a token.
        heads: number of equal parts that every block can be cut into.
        state: bytes that are carried from batch to batch, for one sequence.
        unrolled: the memory of recurrences is that of unrolled steps, not of a kernel.
        logits: bytes of the head, by sequences in a micro-batch; filled on demand.
    """

    experiment: Experiment
    precision: str
    accumulate: int
    vocabulary: int
    model: LanguageModel
    footprint: Footprint
    optimizer: int
    average: int
    flops: int
    heads: int
    state: int
    unrolled: bool
    logits: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment, model: LanguageModel, vocabulary: int) -> "Load":
        """Simulate the training of ``model``, on the meta device, with a training configuration."""
        context, precision = experiment.batch.context, experiment.trainer.precision
        memory = footprint(model, context, precision)
        return cls(
            experiment=experiment,
            precision=precision,
            accumulate=experiment.trainer.accumulate,
            vocabulary=vocabulary,
            model=model,
            footprint=memory,
            optimizer=optimizer_bytes(model, make_optimizer(experiment.optimizer, model)),
            average=average_bytes(model) if experiment.keeps_average else 0,
            flops=flops_per_token(model, context),
            heads=_heads(model),
            state=state_bytes(model, context) if experiment.batch.carry_state else 0,
            unrolled=any(isinstance(module, nn.RNNBase) for module in model.modules()),
        )

    @property
    def tokens(self) -> int:
        """Return the tokens of the whole run."""
        return self.experiment.steps * self.experiment.batch.tokens

    def logit_bytes(self, rows: int) -> int:
        """Return the bytes of head and cross-entropy for a micro-batch."""
        if rows not in self.logits:
            self.logits[rows] = head_bytes(self.model, rows * self.experiment.batch.context, self.precision)
        return self.logits[rows]


def _heads(model: Any) -> int:
    """Return the number of equal parts that every block can be cut into; 1: a block has no heads."""
    numbers = [
        getattr(block.mixer, name, None) or getattr(block.mixer, "heads", 1) or 1
        for block in getattr(model, "blocks", ())
        for name in ("heads", "kv_heads")
    ]
    return gcd(*numbers) if numbers else 1
