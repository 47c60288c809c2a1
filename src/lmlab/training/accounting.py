"""Costs of a completed run: time, energy, memory and operations of training, and the speed of generation."""

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Trainer

from lmlab.config.experiment import Experiment, TrainerOptions
from lmlab.errors import UserError
from lmlab.models import state as model_state
from lmlab.models.decoding import Decoding, Row
from lmlab.models.generation import generate
from lmlab.models.language_model import LanguageModel
from lmlab.runs.files import read_json, write_json
from lmlab.runs.provenance import hardware
from lmlab.runs.run import Run, training_flops
from lmlab.training.callbacks import Clock, PeakMemory
from lmlab.training.devices import matrix_speed, reported_as
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives import eager


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
    trainer: TrainerOptions, device: torch.device, cache: Path, worth_measuring: bool, at_least: float = 0.0
) -> Peak | None:
    """Return the peak of the devices of a ``trainer`` section; ``None``: unknown.

    For a GPU in ``conf/device/`` it is looked up. For any other device it is measured, once for each number of threads
    and precision, and kept in ``cache``.

    Args:
        worth_measuring: measure it if it has not been measured before, which takes a fraction of a second.
        at_least: FLOPs a second that the run reached: a lower measurement was disturbed by other processes, and is
            repeated.
    """
    precision, ranks, nodes = trainer.precision, trainer.devices, trainer.nodes
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


WORTH_MEASURING = 10.0
"""Seconds of training from which a run measures the peak of a device that is in no table, which takes a tenth of a
second. A shorter run has a utilisation only if the peak is known."""

PROMPT, TOKENS, SECONDS = 128, 32, 0.5
"""Limits of the timed generation: tokens of the prompt, tokens generated, and seconds."""


def timings(
    run: Run, experiment: Experiment, trainer: Trainer, module: LanguageModeling, clock: Clock, memory: PeakMemory
) -> dict[str, Any]:
    """Return the costs of training, over all attempts and ranks; called on every rank.

    Operations are three times those of the forward pass in the manifest. Recomputation to save memory is not counted.

    Returns:
        ``seconds``, ``joules`` (where measured: see :class:`lmlab.training.callbacks.Clock`), ``tokens`` and
        ``tokens_per_second``; ``peak_memory_bytes``, the maximum over ranks, and ``peak_memory``, its kind; ``flops``
        and ``flops_per_second``; and, where the peak of the devices is known, ``peak_flops`` of all of them a second,
        ``device``, ``peak_source`` and ``utilisation``: model FLOPs utilisation, the share of that peak that the
        operations of the model itself reached (Chowdhery et al. 2022, section 4.1).
    """
    highest = _highest(trainer, module, memory.bytes)
    if not trainer.is_global_zero:
        return {}
    seconds, tokens = max(clock.seconds, 1e-9), module.tokens_seen
    flops = training_flops(run.manifest["sizes"]["flops_per_token"], tokens)
    speed = flops / seconds
    costs: dict[str, Any] = {"seconds": round(clock.seconds, 3)}
    if clock.joules is not None:
        costs["joules"] = round(clock.joules, 1)
    costs |= {
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_memory_bytes": int(highest),
        "peak_memory": memory.what,
        "flops": flops,
        "flops_per_second": round(speed),
    }
    cache, worth_it = experiment.paths.cache, clock.seconds >= WORTH_MEASURING
    limit = peak(experiment.trainer, module.device, cache, worth_it, speed)
    if limit is not None:
        costs |= {"utilisation": speed / limit.flops, "peak_flops": round(limit.flops)}
        costs |= {"device": limit.device, "peak_source": limit.source}
    return costs


@torch.no_grad()
def generation(experiment: Experiment, trainer: Trainer, module: LanguageModeling) -> dict[str, Any]:
    """Time the continuation of one sequence with the current weights; called on every rank.

    Generation is greedy. The time after the first token is measured, with weights and state as in training, in float32
    under mixed precision, and not compiled.

    Returns:
        ``tokens_per_second``, of ``tokens`` after a prompt of ``prompt_tokens``, and ``state_bytes``, the size of the
        state after the prompt (with tensor parallelism, a rank's part); empty if the network cannot generate.
    """
    model, context = module.model, experiment.batch.context
    was_training = model.training
    model.eval()
    try:
        with eager(experiment.trainer.compile):
            return _generation(trainer, module, model, context)
    except Exception as error:  # the run is complete without it
        logging.getLogger("lmlab").warning("the speed of generation was not measured", exc_info=error)
        return {}
    finally:
        model.train(was_training)


def _generation(trainer: Trainer, module: LanguageModeling, model: LanguageModel, context: int) -> dict[str, Any]:
    length = min(PROMPT, max(1, context // 2))
    prompt_1T = (torch.arange(length, device=module.device) % model.head.vocabulary)[None]
    state = model(prompt_1T, None).state
    written = generate(model, [Row(prompt_1T[0].tolist())], Decoding(greedy=True, length=TOKENS + 2), context)
    next(written)  # the prompt is read
    began = time.perf_counter()
    next(written)
    # Ranks that hold parts of one model must generate the same number of tokens.
    slowest = _highest(trainer, module, time.perf_counter() - began)
    tokens = max(1, min(TOKENS, int(SECONDS / slowest)))
    began = time.perf_counter()
    for _ in range(tokens):
        next(written)
    seconds = time.perf_counter() - began
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "prompt_tokens": length,
        "tokens": tokens,
        "state_bytes": model_state.size_in_bytes(state),
    }


def _highest(trainer: Trainer, module: LanguageModeling, value: float) -> float:
    own = torch.tensor(value, dtype=torch.float64, device=module.device)
    return float(cast(torch.Tensor, trainer.strategy.reduce(own, reduce_op="max")))
