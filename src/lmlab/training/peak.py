"""The peak performance of a run's devices, the reference of its utilisation."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmlab.errors import UserError
from lmlab.runs.files import read_json, write_json
from lmlab.runs.provenance import hardware
from lmlab.training.devices import matrix_speed, reported_as


@dataclass(frozen=True)
class Peak:
    """The peak of all devices of a run together.

    Attributes:
        flops: FLOPs a second of dense matrix products.
        device: number and name of the devices.
        source: ``data sheet``, or ``measured`` with a large matrix product.
    """

    flops: float
    device: str
    source: str


def peak(
    trainer: Mapping[str, Any], device: torch.device, cache: Path, worth_measuring: bool, at_least: float = 0.0
) -> Peak | None:
    """Return the peak of the devices of a ``trainer`` section; ``None``: unknown.

    For a GPU in ``conf/device/`` it is looked up. For any other device it is measured, once for each number of threads
    and precision, and kept in ``cache``.

    Args:
        worth_measuring: measure it if it has not been measured before, which takes a fraction of a second.
        at_least: FLOPs a second that the run reached: a lower measurement was disturbed by other processes, and is
            repeated.
    """
    precision, ranks, nodes = trainer["precision"], trainer["devices"], trainer["nodes"]
    dtype = torch.float32 if precision == "32-true" else torch.float16 if precision == "16-mixed" else torch.bfloat16
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        gpu = reported_as(name)
        if gpu is not None:
            with suppress(UserError):  # a device without units for this precision is measured
                return Peak(ranks * nodes * gpu.peak(precision), _times(ranks * nodes, gpu.name), "data sheet")
        number = ranks * nodes
    else:
        threads, cores = torch.get_num_threads(), hardware()["cores"]
        name = f"{hardware()['processor']}, {threads} thread{'s' if threads > 1 else ''}"
        number = min(ranks, max(1, cores // threads)) * nodes  # ranks that share cores do not add to the peak
    file = cache / "peaks.json"
    key = f"{hardware()['host']}, {name}, {dtype}, torch {torch.__version__}"
    kept = _read(file)
    flops = kept.get(key)
    if flops is None or number * flops < at_least:
        if not worth_measuring:
            return None
        flops = max(flops or 0.0, matrix_speed(dtype, device))
        _keep(file, kept | {key: flops})
    return None if number * flops < at_least else Peak(number * flops, _times(number, name), "measured")


def _times(number: int, name: str) -> str:
    return name if number == 1 else f"{number} x {name}"


def _read(file: Path) -> dict[str, float]:
    try:
        speeds: dict[str, float] = read_json(file)
    except (OSError, ValueError):
        return {}
    return speeds


def _keep(file: Path, peaks: dict[str, float]) -> None:
    with suppress(OSError):  # the cache may be read-only
        write_json(file, peaks)
