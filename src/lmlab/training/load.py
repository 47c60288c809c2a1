"""Load a trained model from a run directory. A checkpoint that would run code when it is read is refused."""

import collections
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor

from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.nodes import Config
from lmlab.config.targets import resolve_target
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError, first_line, nearest
from lmlab.models.language_model import LanguageModel
from lmlab.runs import checkpoints
from lmlab.runs.checkpoints import Damaged, checksum
from lmlab.runs.content import code_checksum
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run
from lmlab.runs.trust import adopt

_PLAIN = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
_TYPES: tuple[Any, ...] = (torch.Size, torch.device, torch.serialization._get_layout, collections.OrderedDict)


class _Metadata(pickle.Unpickler):
    """Reads the list of a checkpoint's shards safely, which torch itself unpickles without protection."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "pathlib" and name.endswith("Path"):
            return super().find_class(module, name)
        if module in _PLAIN or module.partition(".")[0] in ("torch", "collections"):
            named = super().find_class(module, name)
            is_type = isinstance(named, type) and named.__module__ in _PLAIN
            if is_type or isinstance(named, torch.dtype) or any(named is one for one in _TYPES):
                return named
        raise pickle.UnpicklingError(f"{module}.{name}")


def check_loadable(state: Path) -> None:
    """Read a checkpoint's state, a file or a folder of shards, without its tensors.

    Raises:
        Damaged: it holds more than tensors and plain values, or cannot be read.
    """
    metadata = state / ".metadata"
    files = sorted(state.glob("*.pt")) if state.is_dir() else [state]
    try:
        if metadata.exists():
            with metadata.open("rb") as file:
                listed = _Metadata(file).load()
            _check_plain_values(state, listed)
        for path in files:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # its message advises to switch the protection off
        raise Damaged(f"{state.name} holds more than tensors and plain values, and may run code") from error
    except Exception as error:
        raise Damaged(f"{state.name} cannot be read ({type(error).__name__})") from error


def _check_plain_values(folder: Path, metadata: Any) -> None:
    """Read the values between the tensors of shards. Raises ``UnpicklingError`` for values that are not plain."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    for index, where in metadata.storage_data.items():
        if isinstance(metadata.state_dict_metadata[index.fqn], BytesStorageMetadata):
            with (folder / where.relative_path).open("rb") as file:
                file.seek(where.offset)
                torch.load(io.BytesIO(file.read(where.length)), map_location="cpu", weights_only=True)


@dataclass(frozen=True)
class Trained:
    """A run's network in evaluation mode, its tokenizer and its configuration."""

    run: Run
    config: Config
    model: LanguageModel
    tokenizer: Tokenizer
    context: int
    code: str
    """fingerprint of its code (see :mod:`lmlab.runs.provenance`)"""
    checkpoint: str
    """its weights: ``final``, ``best``, ``ema``, ``step 80`` or ``mean of steps 60, 70 and 80``"""


def load_trained(
    run: Run, which: str = "final", device: str = "cpu", trust: bool = False, average: int | None = None
) -> Trained:
    """Rebuild the network of ``run`` from its own saved config and load its weights.

    In this process, the user's own modules are the run's copies until another run is loaded.

    Args:
        which: ``final`` for the weights at the end, ``best`` for those of the best validation, ``ema`` for the average
            of ``callbacks=ema``, or the step of a checkpoint.
        trust: also run modules of a run directory that this user has not signed.
        average: instead, take the mean of the weights of this many newest checkpoints.

    Raises:
        UserError: the run has no such weights, or a file is damaged or does not fit the configuration, or its code may
            not run.
    """
    label, weights = which, None
    if average is not None:
        if which != "final":
            raise UserError(f"checkpoint={which}: not with average={average}; leave one of them out")
        steps, weights = mean_weights(run, average)
        label = f"mean of steps {', '.join(map(str, steps[:-1]))} and {steps[-1]}"
    elif which.isdecimal():
        label, weights = f"step {int(which)}", weights_in(saved_state(run, int(which)))
    else:
        path = weights_file(run, which)
    adopt(run, trust)
    experiment = run.experiment
    config = experiment.config
    code = code_fingerprint({"content": {"code": code_checksum(config) or ""}})
    for section in ("model", "data", "tokenizer"):
        validate(config[section], section)
    tokenizer = load_tokenizer(run.tokenizer, cast(Any, resolve_target(experiment.tokenizer["_target_"], "tokenizer")))
    context = experiment.batch.context
    with torch.device(device):
        model = build(experiment.model, vocabulary=tokenizer.size, context=context)
    if weights is None:
        load_weights(model, path, device)
    else:
        put_weights(model, weights, f"{run.path}: checkpoint={label}")
    return Trained(run, config, model.eval(), tokenizer, context, code, label)


def weights_file(run: Run, which: str, prefix: str = "") -> Path:
    """Return the file of the weights ``which`` (see :func:`load_trained`).

    Args:
        prefix: prefix of the option ``checkpoint`` in messages.

    Raises:
        UserError: the run has no such weights, or they are damaged.
    """
    files = {"final": run.weights, "best": run.best, "ema": run.ema}
    if which not in files:
        raise UserError(f"{prefix}checkpoint={which}: unknown{nearest(which, [*files, 'the step of a checkpoint'])}")
    path = files[which]
    if which == "ema" and not path.exists() and run.status == "finished":
        raise UserError(f"{prefix}checkpoint=ema: {run.path} has no such average; lmlab train callbacks=ema keeps one")
    if not path.exists() and run.status == "finished":
        raise UserError(f"{run.path}: its {which} weights are missing; lmlab reproduce run={run.id} recomputes them")
    if not path.exists():
        raise UserError(f"{run.path}: there are no {which} weights, the run is {run.status}; lmlab train finishes it")
    recorded = run.manifest.get("weights", {}).get(path.name)  # only of a finished run
    if recorded is not None and checksum(path) != recorded:
        raise UserError(
            f"{path}: the weights have changed since they were written; lmlab reproduce run={run.id} recomputes them"
        )
    return path


def saved_state(run: Run, step: int, prefix: str = "") -> dict[str, Any]:
    """Return the content of the checkpoint of ``step``. Raises ``UserError`` if there is none or it is damaged.

    Args:
        prefix: prefix of the option ``checkpoint`` in messages.
    """
    steps = checkpoints.saved(run.checkpoints)
    if step not in steps:
        listed = f"there are steps {', '.join(map(str, steps))}" if steps else "there are none"
        raise UserError(f"{prefix}checkpoint={step}: {run.path} has no such checkpoint, {listed} ({_KEPT})")
    try:
        checkpoints.verify(steps[step])
    except checkpoints.Damaged as error:
        raise UserError(f"{prefix}checkpoint={step}: {steps[step]} is damaged: {error}") from error
    return load_state(steps[step] / checkpoints.STATE, f"{prefix}checkpoint={step}: {steps[step]}")


def load_state(state: Path, where: str) -> dict[str, Any]:
    """Return the state of a checkpoint, a file or a folder of shards.

    Raises:
        UserError: it is damaged; the message begins with ``where``.
    """
    try:
        check_loadable(state)
    except checkpoints.Damaged as error:
        raise UserError(f"{where} is damaged: {error}") from error
    if state.is_dir():
        from lmlab.training.fsdp import read_shards

        return read_shards(state)
    return cast(dict[str, Any], torch.load(state, map_location="cpu", mmap=True, weights_only=True))


def weights_in(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in the state of a checkpoint, by their names in the network."""
    prefix = "model."
    return {name.removeprefix(prefix): v for name, v in state["state_dict"].items() if name.startswith(prefix)}


def mean_weights(run: Run, number: int) -> tuple[list[int], dict[str, Tensor]]:
    """Return the steps of the newest ``number`` checkpoints and the mean of their weights, computed in float64.

    Raises:
        UserError: there are fewer, or one is damaged.
    """
    if number < 2:
        raise UserError(f"average={number}: expected at least 2 checkpoints")
    steps = list(checkpoints.saved(run.checkpoints))
    if len(steps) < number:
        raise UserError(
            f"average={number}: {run.path} has only {len(steps)} checkpoints (steps {', '.join(map(str, steps))}; "
            f"{_KEPT})"
        )
    first, *others = steps[-number:]
    weights = weights_in(saved_state(run, first))
    sums = {name: value.double() for name, value in weights.items()}
    for step in others:
        for name, value in weights_in(saved_state(run, step)).items():
            sums[name] += value
    return [first, *others], {name: (total / number).to(weights[name].dtype) for name, total in sums.items()}


_KEPT = "a run with callbacks.checkpoint.keep=null keeps all of its checkpoints"


def put_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load ``weights`` into ``model``. Raises ``UserError`` that begins with ``where`` if they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{where}: the weights cannot be loaded ({first_line(error)})") from error
    _check_finite(model, where)


def load_weights(model: torch.nn.Module, path: Path, device: Any = "cpu") -> None:
    """Load ``path`` (safetensors) into ``model``. Raises ``UserError`` if it is damaged or does not fit."""
    try:
        load_model(model, path, device=str(device))
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path}: the weights cannot be loaded ({first_line(error)})") from error
    _check_finite(model, str(path))


def _check_finite(model: torch.nn.Module, where: str) -> None:
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise UserError(
            f"{where}: weights are NaN or infinite because the run diverged; they cannot be scored or sampled"
        )
