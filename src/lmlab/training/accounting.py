"""What a run that is done has cost: time, energy, memory and operations of its training, and how fast it generates."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import Trainer

from lmlab.config import Config
from lmlab.models import state as model_state
from lmlab.models.generation import Row, Sampler, generate
from lmlab.models.language_model import LanguageModel
from lmlab.runs.run import Run, training_flops
from lmlab.training.callbacks import Clock, PeakMemory
from lmlab.training.module import LanguageModeling
from lmlab.training.objectives.objective import eager
from lmlab.training.peak import peak

WORTH_MEASURING = 10.0
"""Seconds of training that a run has at least if it measures the peak of a device that no table has: that takes a tenth
of a second. A shorter run has a utilisation only where the peak is known."""

PROMPT, TOKENS, SECONDS = 128, 32, 0.5
"""Of the generation that is timed: tokens read at first, tokens written and seconds taken, each at most."""


def timings(
    run: Run, config: Config, trainer: Trainer, module: LanguageModeling, clock: Clock, memory: PeakMemory
) -> dict[str, Any]:
    """Return what training took, over all attempts and ranks; called on every rank.

    Operations are three times those of the forward pass that the manifest has. What is computed a second time to save
    memory is not counted.

    Returns:
        ``seconds``, ``joules`` (where measured: see :class:`lmlab.training.callbacks.Clock`), ``tokens`` and
        ``tokens_per_second``; ``peak_memory_bytes`` of the rank that took most and ``peak_memory`` of what; ``flops``
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
    found: dict[str, Any] = {"seconds": round(clock.seconds, 3)}
    if clock.joules is not None:
        found["joules"] = round(clock.joules, 1)
    found |= {
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_memory_bytes": int(highest),
        "peak_memory": memory.what,
        "flops": flops,
        "flops_per_second": round(speed),
    }
    cache, worth_it = Path(config["paths"]["cache"]), clock.seconds >= WORTH_MEASURING
    limit = peak(config["trainer"], module.device, cache, worth_it, speed)
    if limit is not None:
        found |= {"utilisation": speed / limit.flops, "peak_flops": round(limit.flops)}
        found |= {"device": limit.device, "peak_source": limit.source}
    return found


@torch.no_grad()
def generation(config: Config, trainer: Trainer, module: LanguageModeling) -> dict[str, Any]:
    """Time how one sequence is continued with the weights that are in place; called on every rank.

    Nothing is drawn: the most probable token is taken. What is timed is what comes after the first token, with weights
    and state as training has them, in float32 under mixed precision, and not compiled.

    Returns:
        ``tokens_per_second``, of ``tokens`` after a prompt of ``prompt_tokens``, and ``state_bytes``, what the state
        takes after the prompt (with tensor parallelism, a rank's part); nothing where the network cannot generate.
    """
    model, context = module.model, config["batch"]["context"]
    was_training = model.training
    model.eval()
    try:
        with eager(config["trainer"]["compile"]):
            return _generation(trainer, module, model, context)
    except Exception as error:  # the run is trained all the same
        logging.getLogger("lmlab").warning("the speed of generation was not measured", exc_info=error)
        return {}
    finally:
        model.train(was_training)


def _generation(trainer: Trainer, module: LanguageModeling, model: LanguageModel, context: int) -> dict[str, Any]:
    length = min(PROMPT, max(1, context // 2))
    prompt_1T = (torch.arange(length, device=module.device) % model.head.vocabulary)[None]
    state = model(prompt_1T, None).state
    written = generate(model, [Row(prompt_1T[0].tolist())], TOKENS + 2, Sampler(greedy=True), context)
    next(written)  # the prompt is read
    began = time.perf_counter()
    next(written)
    # Ranks that have parts of one model have to write equally many.
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
