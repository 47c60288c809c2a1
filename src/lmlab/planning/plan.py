"""Memory, time and cost of a training run on other devices, for every way to distribute it.

Everything is computed from the configuration: memory by simulation (``lmlab.planning.footprint``), time from the
operations of matrix products (``lmlab.models.sizes``) at an assumed share of the device's peak, plus communication that
does not overlap with computation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lmlab.planning.footprint import COMPUTES_IN
from lmlab.planning.workload import Cluster, Load

Strategy = Literal["ddp", "fsdp", "tp", "fsdp x tp"]

ALLOWANCE = 0.05
"""Additional memory as a share of the counted memory: fragmentation and temporary buffers."""

EAGER = 0.54
"""Speed without torch.compile as a share of the speed with it: 135 ms of 250 ms in nanoGPT's README."""

MOST_DEVICES = 4096
"""Limit of devices to try if a run does not fit."""


@dataclass(frozen=True)
class Plan:
    """One way to distribute a run over devices.

    Attributes:
        strategy: ``ddp``: every device has the whole network; ``fsdp``: each has a part of weights, gradients and
            optimizer state, and gathers one block at a time; ``tp``: the devices of a group share every
            matrix.
        shards: devices that weights are spread over by FSDP.
        group: devices that share every matrix.
        accumulate: micro-batches per optimizer step.
        checkpointing: blocks keep their inputs only.
        rows: sequences in a micro-batch.
        memory: bytes on each device, by kind; their sum is what has to fit.
        fits: the memory fits.
        seconds: seconds of an optimizer step: computing, waiting for communication, and the optimizer's own step.
        volume: bytes that each device sends in a step.
    """

    strategy: Strategy
    devices: int
    shards: int
    group: int
    accumulate: int
    checkpointing: bool
    rows: int
    memory: dict[str, int]
    fits: bool
    seconds: dict[str, float]
    volume: float

    @property
    def total(self) -> int:
        return sum(self.memory.values())

    @property
    def step(self) -> float:
        """Return the seconds of an optimizer step."""
        return sum(self.seconds.values())


def plans(load: Load, cluster: Cluster, accumulate: int | None = None) -> list[Plan]:
    """Return all plans with ``accumulate`` micro-batches (``None``: the configured number)."""
    candidates = []
    for strategy, group in _strategies(load, cluster):
        replicas = cluster.devices // group
        times = accumulate or load.accumulate
        if load.experiment.batch.size % (replicas * times):
            continue
        for checkpointing in (False, True) if load.footprint.blocks else (False,):
            candidates.append(_plan(load, cluster, strategy, group, times, checkpointing))
    return candidates


def recommended(load: Load, cluster: Cluster) -> Plan | None:
    """Return the fastest plan that fits, the simplest of equally fast ones; ``None``: no plan fits.

    Micro-batches may be smaller than configured, but not larger, and are not split while a state is carried.
    """
    size, least = load.experiment.batch.size, load.accumulate
    splits = [least] if load.experiment.batch.carry_state else [n for n in range(least, size + 1) if size % n == 0]
    fitting = [plan for times in splits for plan in plans(load, cluster, times) if plan.fits]
    order: list[Strategy] = ["ddp", "fsdp", "tp", "fsdp x tp"]
    # Differences below a tenth are within the uncertainty of the estimates.
    quickest = min((plan.step for plan in fitting), default=0) * 1.1
    quick = [plan for plan in fitting if plan.step <= quickest]
    return min(quick, key=lambda p: (order.index(p.strategy), p.checkpointing, p.accumulate), default=None)


def enough_devices(load: Load, cluster: Cluster) -> Plan | None:
    """Return the recommended plan on the smallest number of devices, doubled from the current one, that fits."""
    devices = cluster.devices
    while devices < MOST_DEVICES:
        devices = 2 * devices if devices < cluster.per_node else devices + cluster.per_node * cluster.nodes
        if devices > cluster.per_node:  # whole machines: of 3 devices twice as many are 6, then 16
            devices = -(-devices // cluster.per_node) * cluster.per_node
        more = Cluster(**{**vars(cluster), "devices": devices})
        if plan := recommended(load, more):
            return plan
        cluster = more
    return None


def _strategies(load: Load, cluster: Cluster) -> Iterator[tuple[Strategy, int]]:
    """Yield the strategies with the number of devices that share every matrix, limited by one machine and the heads.

    A moving average needs whole weights on every device.
    """
    yield "ddp", 1
    if cluster.devices == 1 or load.average:
        return
    yield "fsdp", 1
    inside = min(cluster.devices, cluster.per_node)
    groups = [n for n in range(2, min(inside, load.heads) + 1) if inside % n == 0 and load.heads % n == 0]
    for group in groups[-1:]:
        yield "tp", group
    for group in [n for n in groups if n < cluster.devices][-1:]:
        yield "fsdp x tp", group


def _plan(load: Load, cluster: Cluster, strategy: Strategy, group: int, accumulate: int, checkpointing: bool) -> Plan:
    replicas = cluster.devices // group
    rows = load.experiment.batch.size // replicas // accumulate
    sharded = strategy.startswith("fsdp")
    shards = replicas if sharded else 1
    memory = _memory(load, rows, shards, group, replicas, checkpointing, sharded)
    seconds, volume = _seconds(load, cluster, rows, group, replicas, accumulate, checkpointing, sharded, memory)
    available = cluster.device.memory * 2**30
    memory["allowance"] = round(ALLOWANCE * sum(memory.values()) + cluster.device.reserved * 2**30)
    fits = sum(memory.values()) <= available
    return Plan(
        strategy, cluster.devices, shards, group, accumulate, checkpointing, rows, memory, fits, seconds, volume
    )


def _memory(
    load: Load, rows: int, shards: int, group: int, replicas: int, checkpointing: bool, sharded: bool
) -> dict[str, int]:
    """Return the bytes on a device, by kind.

    Everything is divided by the devices of a group; activations outside of matrices by sequence parallelism
    (Korthikanti et al. 2022, section 4.2).
    """
    model, each = load.footprint, load.footprint.bytes_each
    parts = shards * group
    trained = model.trained * each
    if sharded:
        # Two blocks (current and next), parameters outside of blocks, and a gradient before it is scattered.
        narrow = COMPUTES_IN[load.precision].itemsize
        working = narrow * (2 * model.largest + model.outside + max(model.largest, model.outside))
    else:
        # DDP copies gradients into buckets to send them.
        working = model.copies + (trained if replicas > 1 else 0)
    memory = {
        "weights": model.parameters * each // parts,
        "gradients": trained // parts,
        "optimizer": load.optimizer // parts,
        **({"average": load.average} if load.average else {}),
        "working": working // group,
        "activations": model.activations(rows, checkpointing) // group,
        "logits": load.logit_bytes(rows) // group,
    }
    return memory | ({"state": rows * load.state // group} if load.state else {})


def _seconds(
    load: Load,
    cluster: Cluster,
    rows: int,
    group: int,
    replicas: int,
    accumulate: int,
    checkpointing: bool,
    sharded: bool,
    memory: dict[str, int],
) -> tuple[dict[str, float], float]:
    """Return the seconds of an optimizer step, by activity, and the bytes that a device sends.

    - DDP all-reduces every gradient, at the end of a step, during the backward pass of the last micro-batch.
    - FSDP gathers the weights twice and scatters the gradients once for every micro-batch, during computation
      (Rajbhandari et al. 2020, section 7).
    - Tensor parallelism all-reduces inputs and outputs, four times per block and micro-batch (Shoeybi et al. 2019,
      section 3), six times with checkpointing, without overlap.
    """
    model, each = load.footprint, load.footprint.bytes_each
    narrow = COMPUTES_IN[load.precision].itemsize
    forward = load.flops * load.experiment.batch.tokens / cluster.devices
    peak = cluster.device.peak(load.precision) * cluster.efficiency
    computing = forward * (4 if checkpointing else 3) / peak
    # The devices of a group are in one machine: replicas are in other machines if a group fills its own.
    near = cluster.nodes == 1
    waiting, volume = 0.0, 0.0
    if replicas > 1:
        size = (3 * accumulate * narrow * model.parameters if sharded else 2 * each * model.trained) / group
        hidden = computing if sharded else computing * 2 / 3 / accumulate
        waiting += max(0.0, cluster.seconds(size, replicas, near) - hidden)
        volume += size * (replicas - 1) / replicas
    if group > 1:
        numbers = sum(block.times * block.carries for block in model.blocks) * rows * accumulate
        size = 2 * (6 if checkpointing else 4) * numbers * narrow
        waiting += cluster.seconds(size, group, within_node=True)
        volume += size * (group - 1) / group
    # The optimizer reads weights, gradients and its own state, and writes weights and state.
    touched = 2 * memory["weights"] + memory["gradients"] + 2 * memory["optimizer"]
    if load.average:
        touched += memory["weights"] + 2 * load.average
    updating = touched / (cluster.device.bandwidth * 1e9)
    return {"computing": computing, "waiting": waiting, "updating": updating}, volume
