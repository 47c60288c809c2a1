"""The most that the devices of a run can compute, which its utilisation is a share of."""

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
        flops: a second, of dense matrix products.
        device: what they are.
        source: ``data sheet``, or ``measured`` with a large matrix product.
    """

    flops: float
    device: str
    source: str


def peak(
    trainer: Mapping[str, Any], device: torch.device, cache: Path, worth_measuring: bool, at_least: float = 0.0
) -> Peak | None:
    """Return the peak of the devices of a ``trainer`` section; ``None``: it is not known.

    That of a GPU in ``conf/device/`` is looked up. Any other device's is measured, once for each number of threads and
    precision, and kept in ``cache``.

    Args:
        worth_measuring: measure it where it has not been before, which takes a fraction of a second.
        at_least: FLOPs a second that the devices did reach: a measurement that falls short of them was disturbed by
            what else was computed meanwhile, and is taken once more.
    """
    precision, ranks, nodes = trainer["precision"], trainer["devices"], trainer["nodes"]
    dtype = torch.float32 if precision == "32-true" else torch.float16 if precision == "16-mixed" else torch.bfloat16
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = reported_as(name)
        if known is not None:
            with suppress(UserError):  # without units for this precision it is as fast as it is measured to be
                return Peak(ranks * nodes * known.peak(precision), _times(ranks * nodes, known.name), "data sheet")
        number = ranks * nodes
    else:
        threads, cores = torch.get_num_threads(), hardware()["cores"]
        name = f"{hardware()['processor']}, {threads} thread{'s' if threads > 1 else ''}"
        number = min(ranks, max(1, cores // threads)) * nodes  # ranks that share cores have no more of them
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
    with suppress(OSError):  # in a cache that can only be read nothing is kept
        write_json(file, peaks)
