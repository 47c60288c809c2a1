"""Counters of energy that devices keep themselves: NVIDIA's GPUs, and the packages of Intel and AMD processors."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch

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
