"""The time, energy and memory that training takes, over all attempts.

Devices keep counters of energy themselves: NVIDIA's GPUs, and the packages of Intel and AMD processors.
"""

import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch

from lmlab.training.module import LanguageModeling

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of processor packages (RAPL, running average power limit)."""


class Meter(Protocol):
    """What reports an energy that only grows."""

    def read(self) -> float:
        """Return the joules since some moment, the same at every call."""


class Nothing:
    """The meter of a rank whose device another rank of its node reads."""

    def read(self) -> float:
        return 0.0


class Gpu:
    """One NVIDIA GPU's own count since its driver was loaded (NVML, ``nvmlDeviceGetTotalEnergyConsumption``).

    Args:
        millijoules: reads that count.
    """

    def __init__(self, millijoules: Callable[[], int]) -> None:
        self._millijoules = millijoules

    def read(self) -> float:
        return self._millijoules() / 1e3


class Packages:
    """All processor packages of a machine together, whatever else they compute meanwhile.

    Their counters start again at 0 after a few minutes at full power, so they are to be read more often than that.

    Args:
        zones: folders of packages below ``/sys/class/powercap``.

    Raises:
        OSError: one cannot be read; most systems let the administrator only.
    """

    def __init__(self, zones: Iterable[Path]) -> None:
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._range = {zone: _number(zone / "max_energy_range_uj") for zone in self._last}
        self._total = 0

    def read(self) -> float:
        for zone, before in self._last.items():
            now = _number(zone / "energy_uj")
            self._total += now - before + (self._range[zone] if now < before else 0)
            self._last[zone] = now
        return self._total / 1e6


def meter(device: torch.device, local_rank: int) -> Meter | None:
    """Return what counts the energy of the device that a rank trains on; ``None``: nothing here does.

    Args:
        local_rank: the rank on its node; the first reads the packages for all.
    """
    if device.type == "cuda":
        return _gpu(device)
    if device.type != "cpu":
        return None
    return packages(POWERCAP) if local_rank == 0 else Nothing()


def packages(folder: Path) -> Packages | None:
    """Return the meter of all packages that ``folder`` shows; ``None``: there are none, or they may not be read."""
    try:
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if _name(zone).startswith("package")]
        return Packages(zones) if zones else None
    except (OSError, ValueError):
        return None


def _gpu(device: torch.device) -> Gpu | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        # By its own number: CUDA may show devices in another order, and not all of them.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        found = Gpu(lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)))
        found.read()
        return found
    except Exception:  # no such package, driver or counter, or a part of a GPU, which has no count of its own
        return None


def _number(path: Path) -> int:
    return int(path.read_text())


def _name(zone: Path) -> str:
    return (zone / "name").read_text()


SECONDS_BETWEEN_READINGS = 20.0
"""A meter of energy may start again at 0 unless it is read so often."""


class Clock(pl.Callback):
    """Adds up seconds spent in training steps, and joules; goes on where a resumed run's checkpoint left them.

    Seconds are those of rank 0, on whose device everything that it was given is done. Joules are those of the devices
    that train, of all ranks together: of their GPUs (what processors take meanwhile is not counted), or, on CPUs, of
    all packages of every machine, with whatever else these compute. They are left out where a device does not report
    them, or did not in an earlier attempt.

    First in the list of callbacks: what others do at a validation, and at the end, is no part of it.
    """

    def __init__(self) -> None:
        self._seconds = Stretches(time.perf_counter)
        self._joules: Stretches | None = None
        self._joules_before: float | None = 0.0
        self._read_at = 0.0
        self.joules: float | None = None
        """Joules of training of all ranks, all attempts together, when last asked for."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all attempts together."""
        return self._seconds.total

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = meter(pl_module.device, trainer.local_rank)
        all_have_one = _over_ranks(trainer, pl_module, float(found is not None), "min")
        if found is None or not all_have_one:
            self._joules_before = self.joules = None
        elif self._joules_before is not None:
            self._joules = Stretches(found.read)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._seconds.go_on()
        if self._joules is not None:
            self._joules.go_on()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = cast(LanguageModeling, pl_module)
        accumulated = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if accumulated and module.logs_at(trainer.global_step):
            _wait_for(module.device)
            self._note(trainer, module)
            module.also = {"time/tokens_per_second": module.tokens_seen / max(self.seconds, 1e-9)}
        elif self._joules is not None and time.perf_counter() - self._read_at > SECONDS_BETWEEN_READINGS:
            self._read_at = time.perf_counter()
            _ = self._joules.total

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pause(trainer, pl_module)

    def _pause(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _wait_for(pl_module.device)
        self._seconds.pause()
        if self._joules is not None:
            self._joules.pause()
        self._note(trainer, pl_module)

    def _note(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the rows that come say how much it is by now; called on every rank."""
        module = cast(LanguageModeling, pl_module)
        module.times = {"time/seconds": self.seconds}
        if self._joules is not None:
            assert self._joules_before is not None
            self._read_at = time.perf_counter()
            own = self._joules.total
            self.joules = self._joules_before + _over_ranks(trainer, pl_module, own, "sum")
        if self.joules is not None:
            module.times["time/joules"] = self.joules

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds.before = state_dict["seconds"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._note(trainer, pl_module)  # here and not in the state: every rank is asked
        checkpoint["joules"] = self.joules

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._joules_before = self.joules = checkpoint.get("joules")  # earlier versions did not measure it


class Stretches:
    """By how much something that only grows has grown, in stretches of time.

    Args:
        read: returns how much it is now.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self.before = 0.0
        self._since: float | None = None

    @property
    def total(self) -> float:
        """The growth in all stretches so far, that under way among them."""
        return self.before + (0.0 if self._since is None else self._read() - self._since)

    def go_on(self) -> None:
        """Begin a stretch, if none is under way."""
        if self._since is None:
            self._since = self._read()

    def pause(self) -> None:
        """End the stretch under way, if there is one."""
        self.before, self._since = self.total, None


def _over_ranks(trainer: pl.Trainer, module: pl.LightningModule, value: float, reduction: str) -> float:
    if trainer.world_size == 1:
        return value
    reduced = trainer.strategy.reduce(
        torch.tensor(value, dtype=torch.float64, device=module.device), reduce_op=reduction
    )
    return float(cast(torch.Tensor, reduced))


def _wait_for(device: torch.device) -> None:
    """Let a device do all that it was given: a GPU's work goes on behind what Python has done."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


class PeakMemory(pl.Callback):
    """Keeps the peak over all attempts: of a GPU, what torch's allocator handed out at most at a time; of a CPU, the
    largest resident set of the process, libraries and all."""

    def __init__(self) -> None:
        self._before = 0
        self._device = torch.device("cpu")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = pl_module.device

    @property
    def bytes(self) -> int:
        """The peak of this rank so far."""
        if self._device.type == "cuda":
            return max(self._before, torch.cuda.max_memory_allocated(self._device))
        return max(self._before, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    @property
    def what(self) -> str:
        """What :attr:`bytes` is the peak of."""
        return "allocated by torch" if self._device.type == "cuda" else "resident set of the process"

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["bytes"]
