"""The time, energy and memory that training takes, over all attempts.

NVIDIA's GPUs and the packages of Intel and AMD processors have energy counters.
"""

import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from lmlab.training.module import LanguageModeling

POWERCAP = Path("/sys/class/powercap")
"""Linux's folder of the counters of processor packages (RAPL, running average power limit)."""


Meter = Callable[[], float]
"""Returns the joules since a fixed moment; it never decreases."""


class Packages:
    """Meter of all processor packages of a machine together, including the work of other processes.

    Their counters restart at 0 after a few minutes at full power, so they must be read more often than that.

    Args:
        zones: folders of packages below ``/sys/class/powercap``.

    Raises:
        OSError: a counter cannot be read; on most systems only the administrator may.
    """

    def __init__(self, zones: Iterable[Path]) -> None:
        self._last = {zone: _number(zone / "energy_uj") for zone in zones}
        self._range = {zone: _number(zone / "max_energy_range_uj") for zone in self._last}
        self._total = 0

    def __call__(self) -> float:
        for zone, before in self._last.items():
            now = _number(zone / "energy_uj")
            self._total += now - before + (self._range[zone] if now < before else 0)
            self._last[zone] = now
        return self._total / 1e6


def meter(device: torch.device, local_rank: int) -> Meter | None:
    """Return the energy meter of the device that a rank trains on; ``None``: there is none.

    Args:
        local_rank: the rank on its node; rank 0 reads the packages for all.
    """
    if device.type == "cuda":
        return gpu(device)
    if device.type != "cpu":
        return None
    return packages(POWERCAP) if local_rank == 0 else lambda: 0.0


def packages(folder: Path) -> Packages | None:
    """Return the meter of all packages in ``folder``; ``None``: there are none, or reading is not permitted."""
    try:
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if _name(zone).startswith("package")]
        return Packages(zones) if zones else None
    except (OSError, ValueError):
        return None


def gpu(device: torch.device) -> Meter | None:
    """Return the meter of an NVIDIA GPU, which counts from the time when its driver was loaded; ``None``: none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        # By UUID: CUDA may show devices in another order, and not all of them.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")

        def joules() -> float:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

        joules()
        return joules
    except Exception:  # no such package, driver or counter, or a part of a GPU, which has no counter
        return None


def _number(path: Path) -> int:
    return int(path.read_text())


def _name(zone: Path) -> str:
    return (zone / "name").read_text()


SECONDS_BETWEEN_READINGS = 20.0
"""Seconds between readings of an energy meter, whose counter may restart at 0."""


class Clock(pl.Callback):
    """Adds up the seconds and joules of training steps; continues from the values in a resumed run's checkpoint.

    Seconds are those of rank 0, after its device has finished all work. Joules are those of the training devices of all
    ranks together: of GPUs (without the energy of processors), or, on CPUs, of all packages of every machine, including
    the work of other processes. They are omitted if a device does not report them, or did not in an earlier attempt.

    First in the list of callbacks, so that the work of other callbacks at a validation and at the end is not counted.
    """

    def __init__(self) -> None:
        self._seconds = Stretches(time.perf_counter)
        self._joules: Stretches | None = None
        self._joules_before: float | None = 0.0
        self._read_at = 0.0
        self._device = torch.device("cpu")
        self.joules: float | None = None
        """Joules of training of all ranks and attempts, when last read."""

    @property
    def seconds(self) -> float:
        """Return the seconds of training so far, over all attempts."""
        return self._seconds.total

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._device = pl_module.device
        energy = meter(self._device, trainer.local_rank)
        all_have_one = _over_ranks(trainer, pl_module, float(energy is not None), "min")
        if energy is None or not all_have_one:
            self._joules_before = self.joules = None
        elif self._joules_before is not None:
            self._joules = Stretches(energy)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
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

    def wait(self) -> None:
        """Pause until the next batch; called while it waits for its data."""
        _wait_for(self._device)
        self._seconds.pause()
        if self._joules is not None:
            self._joules.pause()

    def _pause(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.wait()
        self._note(trainer, pl_module)

    def _note(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the current totals to the next rows; called on every rank."""
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
        self._note(trainer, pl_module)  # here and not in state_dict(): every rank has to take part
        checkpoint["joules"] = self.joules

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._joules_before = self.joules = checkpoint.get("joules")  # earlier versions did not measure it


class Stretches:
    """The growth of a counter during several intervals.

    Args:
        read: returns the current value.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self.before = 0.0
        self._since: float | None = None

    @property
    def total(self) -> float:
        """Return the growth in all intervals so far, including the current one."""
        return self.before + (0.0 if self._since is None else self._read() - self._since)

    def go_on(self) -> None:
        """Begin an interval, unless one is running."""
        if self._since is None:
            self._since = self._read()

    def pause(self) -> None:
        """End the current interval, if there is one."""
        self.before, self._since = self.total, None


def _over_ranks(trainer: pl.Trainer, module: pl.LightningModule, value: float, reduction: str) -> float:
    if trainer.world_size == 1:
        return value
    reduced = trainer.strategy.reduce(
        torch.tensor(value, dtype=torch.float64, device=module.device), reduce_op=reduction
    )
    return float(cast(torch.Tensor, reduced))


def _wait_for(device: torch.device) -> None:
    """Wait until a device has finished its work: a GPU runs asynchronously."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


class PeakMemory(pl.Callback):
    """Records the peak of memory over all attempts.

    On a GPU, it is the peak of torch's allocator; on a CPU, the largest resident set of the process, with libraries.
    """

    def __init__(self) -> None:
        self._before = 0
        self._device = torch.device("cpu")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = pl_module.device

    @property
    def bytes(self) -> int:
        """Return the peak of this rank so far."""
        if self._device.type == "cuda":
            return max(self._before, torch.cuda.max_memory_allocated(self._device))
        return max(self._before, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    @property
    def what(self) -> str:
        """Return the kind of memory that :attr:`bytes` measures."""
        return "allocated by torch" if self._device.type == "cuda" else "resident set of the process"

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["bytes"]
