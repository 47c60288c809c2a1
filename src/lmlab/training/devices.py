"""Devices for plans: memory, speeds and price. Options are in ``conf/device/``, with their sources."""

import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from lmlab.config.canonical import CONF
from lmlab.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device of a plan.

    Args:
        name: the manufacturer's name.
        memory: GiB.
        half: peak TFLOPS of dense matrix products in bfloat16 or float16.
        single: peak TFLOPS of matrix products in float32.
        bandwidth: bandwidth of its memory, GB/s.
        link: bandwidth to the other devices of its node, GB/s in each direction.
        efficiency: share of the peak that training reaches (model FLOPs utilisation, Chowdhery et al. 2022, section
            4.1).
        price: US dollars an hour; ``None``: unknown.
        bfloat16: its matrix units support bfloat16.
        reserved: GiB for the driver, the library of collectives and workspaces.
        reported: regular expression for torch's whole name of the device; ``None``: it is not recognised.

    Raises:
        UserError: a number that is not above 0, or an efficiency above 1.
    """

    name: str
    memory: float
    half: float
    single: float
    bandwidth: float
    link: float
    efficiency: float
    price: float | None = None
    bfloat16: bool = True
    reserved: float = 2.0
    reported: str | None = None

    def __post_init__(self) -> None:
        for option in ("memory", "half", "single", "bandwidth", "link"):
            value = getattr(self, option)
            if not 0 < value < math.inf:
                raise UserError(f"device.{option}={value}: expected a number above 0")
        for option in ("reserved", "price"):
            value = getattr(self, option)
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"device.{option}={value}: expected a number of at least 0")
        check_efficiency(self.efficiency, "device.efficiency")

    def peak(self, precision: str) -> float:
        """Return the FLOPs a second of matrix products in a ``trainer.precision``.

        Raises:
            UserError: the device has no units for it.
        """
        if precision.startswith("bf16") and not self.bfloat16:
            raise UserError(f"trainer.precision={precision}: {self.name} has no units for bfloat16 (choose 16-mixed)")
        return 1e12 * (self.single if precision == "32-true" else self.half)


def check_efficiency(efficiency: float, option: str) -> None:
    """Refuse an efficiency outside (0, 1]. Raises ``UserError``."""
    if not 0 < efficiency <= 1:
        raise UserError(f"{option}={efficiency}: expected a number in (0, 1]")


def this_cpu(efficiency: float, price: float | None = None) -> Device:
    """Return this machine's CPU, all cores of it, with speeds measured now.

    Raises:
        UserError: ``efficiency`` is not in (0, 1].
    """
    import torch

    large = torch.ones(1 << 24)  # 64 MiB, larger than caches
    bandwidth = 2 * large.nbytes / _shortest(large.clone) / 1e9
    return Device(
        name=f"this CPU, {torch.get_num_threads()} threads",
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        half=matrix_speed(torch.bfloat16, torch.device("cpu")) / 1e12,
        single=matrix_speed(torch.float32, torch.device("cpu")) / 1e12,
        bandwidth=bandwidth,
        link=bandwidth / 2,  # processes communicate through memory: one writes, another reads
        efficiency=efficiency,
        price=price,
        reserved=0.5,
    )


def reported_as(name: str) -> Device | None:
    """Return the device of ``conf/device/`` with torch's name ``name``; ``None``: there is none."""
    for path in sorted((CONF / "device").glob("*.yaml")):
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        if (pattern := options.pop("reported", None)) and re.fullmatch(pattern, name):
            del options["_target_"]
            return Device(**options, reported=pattern)
    return None


def matrix_speed(dtype: "torch.dtype", device: "torch.device") -> float:
    """Return the FLOPs a second of a large product of square matrices, the fastest of several."""
    import torch

    size = 1024 if device.type == "cpu" else 4096
    one = torch.ones(size, size, dtype=dtype, device=device)

    def product() -> None:
        _ = one @ one
        if device.type != "cpu":
            torch.get_device_module(device).synchronize(device)

    return 2 * size**3 / _shortest(product)


def _shortest(work: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of five repetitions."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
