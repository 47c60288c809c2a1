"""Start a run with the weights, and the optimizer state, of another one (see :mod:`lmlab.runs.start`)."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from lmlab.config.build import build
from lmlab.config.experiment import Experiment, Start
from lmlab.config.nodes import differences
from lmlab.config.overrides import written
from lmlab.config.targets import resolve_target
from lmlab.data.tasks import Task
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError
from lmlab.models.sizes import without_memory
from lmlab.runs import checkpoints, events
from lmlab.runs.files import place_again, read_json, write_text
from lmlab.runs.run import Run, training_flops
from lmlab.runs.start import setting_of, step_of
from lmlab.training import sizing
from lmlab.training.load import load_state, load_weights, put_weights, saved_state, weights_file, weights_in
from lmlab.training.module import LanguageModeling
from lmlab.training.preflight import build_model, open_task

_SHARED = "tokens.json"
"""File of the tokens that a run shares with a parent that has another vocabulary."""


def check(experiment: Experiment, task: Task) -> tuple[dict[str, Any], dict[int, int] | None]:
    """Refuse a parent that ``experiment`` cannot start from, and return the record of it.

    Returns:
        A record: ``run``, ``directory``; ``step``: of the parent, at which it was left; ``steps``, ``tokens`` and
        ``flops`` of training, of the parent and of those before it; ``position``: the first step of the data order,
        which continues the parent's if the data, the seed and the batches are the same; ``setting``: what the
        parent has in common with those of other seeds, where it has the seed of ``experiment``. And the tokens that the
        parent has as well, with those there; ``None``: it has the same tokens.

    Raises:
        UserError: an option differs, or a file of the parent is missing or damaged; the message names it.
    """
    start = experiment.start
    parent = Run(Path(cast(str, start.directory)))
    before, manifest = parent.experiment, parent.manifest
    if start.optimizer:
        _check_optimizers(experiment, before, start)
    shared = None
    if _has_other_tokens(task, manifest["data"]):
        if start.embeddings is None:
            raise _other_tokens(start)
        shared = _shared_tokens(task.tokenizer, _tokenizer_in(parent.tokenizer, before), start)
    _check_shapes(experiment, task, _shapes(parent, start), before, manifest["data"]["vocabulary"], start)
    step = step_of(start, parent)
    if step is None:
        step = int(manifest["training"]["stopped_at"])
    earlier = manifest.get("start") or {"steps": 0, "tokens": 0, "flops": 0, "position": 0}
    tokens = round(step * manifest["training"].get("tokens_per_step", before.batch.tokens))
    record = {
        "run": manifest["id"],
        "directory": start.directory,
        "step": step,
        "steps": earlier["steps"] + step,
        "tokens": earlier["tokens"] + tokens,
        "flops": earlier["flops"] + training_flops(manifest["sizes"]["flops_per_token"], tokens),
        "position": _position(experiment, before, task, parent, earlier["position"], step),
    }
    if experiment.seed == before.seed:
        record["setting"] = setting_of(before.config, manifest)
    if shared is not None:
        record["embeddings"] = {"shared": len(shared), "of": task.tokenizer.size}
    return record, shared


def check_stage_options(experiment: Experiment, before: Experiment, name: str) -> None:
    """Refuse a stage that cannot start from the run of an earlier stage, as far as that is known without its data.

    Args:
        before: the configuration of the earlier stage, whose run need not exist yet.
        name: name of the earlier stage.

    Raises:
        UserError: an option differs; the message names it.
    """
    start = replace(experiment.start, run=name)
    if start.checkpoint == "ema" and not before.keeps_average:
        raise UserError(f"start.checkpoint=ema: stages.{name} keeps no such average (callbacks=ema keeps one)")
    if start.optimizer:
        _check_optimizers(experiment, before, start)


def check_stage(experiment: Experiment, task: Task, before: Experiment, name: str) -> None:
    """Refuse a stage that cannot start from the run of an earlier stage; see :func:`check_stage_options`.

    Args:
        task: task of the stage.

    Raises:
        UserError: an option differs; the message names it.
    """
    start = replace(experiment.start, run=name)
    earlier = open_task(before)
    if _has_other_tokens(task, earlier.describe()):
        if start.embeddings is None:
            raise _other_tokens(start)
        _shared_tokens(task.tokenizer, earlier.tokenizer, start)
    with without_memory():
        model = build_model(_with_width(before, earlier), earlier)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    _check_shapes(_with_width(experiment, task), task, shapes, before, earlier.tokenizer.size, start)


def _with_width(experiment: Experiment, task: Task) -> Experiment:
    """Return ``experiment`` with the width for the model's requested size, if there is one."""
    solved = sizing.solve_width(experiment.model, task.tokenizer.size, experiment.batch.context)
    return experiment.with_options(model=solved)


def _has_other_tokens(task: Task, data: Mapping[str, Any]) -> bool:
    described = task.describe()
    return any(described.get(key) != data.get(key) for key in ("vocabulary", "tokenizer_fingerprint"))


def _other_tokens(start: Start) -> UserError:
    return UserError(
        f"tokenizer: its tokens are not those of start.run={start.run} (choose its tokenizer and its data, or "
        "start.embeddings=overlap, which copies the embeddings of the tokens that both have)"
    )


def _tokenizer_in(folder: Path, experiment: Experiment) -> Tokenizer:
    return load_tokenizer(folder, cast(Any, resolve_target(experiment.tokenizer["_target_"], "tokenizer")))


def _shared_tokens(tokenizer: Tokenizer, other: Tokenizer, start: Start) -> dict[int, int]:
    """Return the ids of tokens that ``other`` has too, of equal bytes, and their ids there. Raises ``UserError``."""
    ids = {token: number for number, token in reversed(list(enumerate(other.types())))}
    shared = {number: ids[token] for number, token in enumerate(tokenizer.types()) if token in ids}
    if not shared:
        raise UserError(f"start.embeddings=overlap: none of the tokens are those of start.run={start.run}")
    return shared


def _check_optimizers(experiment: Experiment, before: Experiment, start: Start) -> None:
    if experiment.trainer.strategy == "fsdp":
        raise UserError("start.optimizer=true: not with trainer.strategy=fsdp (choose ddp, or start.optimizer=false)")
    for key, (old, new) in differences(before.optimizer, experiment.optimizer).items():
        if key == "_target_":
            raise UserError(f"optimizer: start.optimizer=true needs that of start.run={start.run}, {old}, not {new}")
        if not key.endswith("lr"):  # learning rates may change; other settings come with the state
            raise UserError(
                f"optimizer.{key}={written(new)}: with start.optimizer=true it is that of start.run={start.run}, "
                f"optimizer.{key}={written(old)}"
            )


def _shapes(parent: Run, start: Start) -> dict[str, list[int]]:
    """Return the shapes of the initial weights by name. Raises ``UserError`` if they are damaged."""
    step = step_of(start, parent)
    if step is not None:
        return {name: list(value.shape) for name, value in weights_in(saved_state(parent, step, "start.")).items()}
    path = weights_file(parent, start.checkpoint, "start.")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: the weights cannot be read ({error})") from error


def _check_shapes(
    experiment: Experiment,
    task: Task,
    shapes: Mapping[str, list[int]],
    before: Experiment,
    vocabulary: int,
    start: Start,
) -> None:
    """Refuse a network that differs from the parent's.

    Args:
        shapes: shapes of the parent's weights.
        before: the parent's configuration.
        vocabulary: the parent's number of tokens, which may differ only with ``start.embeddings``.

    Raises:
        UserError: it names the options that differ.
    """
    with without_memory():
        model = build_model(experiment, task)
    if start.embeddings is not None:
        if getattr(model, "ngrams", None) is not None:
            raise UserError(
                f"model.ngrams={written(experiment.model['ngrams'])}: not with start.embeddings={start.embeddings}, "
                "because their rows belong to the numbers of the parent's tokens"
            )
        shapes = dict(shapes)
        for name, copies in _of_vocabulary(experiment).items():
            if name in shapes and shapes[name][0] == copies * vocabulary:
                shapes[name] = [copies * task.tokenizer.size, *shapes[name][1:]]
    own = model.state_dict()
    wrong = [name for name, shape in shapes.items() if name not in own or list(own[name].shape) != shape]
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    wrong += [some[0] for some in names.values() if not any(name in shapes for name in some)]
    if not wrong:
        return
    options = [
        f"model.{key}={written(new)} (there {written(old)})"
        for key, (old, new) in differences(before.model, experiment.model).items()
        if not isinstance(new, dict)
    ]
    what = ", ".join(options) or f"model: {wrong[0]} has another shape"
    raise UserError(f"{what}: the weights of start.run={start.run} do not fit this model")


def _of_vocabulary(experiment: Experiment) -> dict[str, int]:
    """Return the names of the weights that have rows for each token, with the number of rows per token."""
    sizes, node, context = [], experiment.model, experiment.batch.context
    for vocabulary in (2, 3):
        with without_memory():
            model = build(sizing.without_size(node, vocabulary, context), vocabulary=vocabulary, context=context)
        sizes.append({name: value.shape[0] for name, value in model.state_dict().items() if value.dim()})
    return {name: sizes[1][name] - size for name, size in sizes[0].items() if sizes[1][name] != size}


def _position(experiment: Experiment, before: Experiment, task: Task, parent: Run, position: int, step: int) -> int:
    """Return the first step of the data order of a run that starts after ``step`` of ``parent``."""
    batch, old = experiment.batch, before.batch
    same_order = task.fingerprint == parent.manifest["data"]["fingerprint"] and experiment.seed == before.seed
    if not same_order or replace(batch, size=1) != replace(old, size=1):
        return 0
    jumps = [(row["to"], row["step"]) for row in events.done(parent, "roll_back") if row.get("to") is not None]
    place = position + step + sum(end - first for first, end in jumps if first <= step)
    if batch.size == old.size:
        return place
    return 0 if batch.carry_state or batch.separate else math.ceil(place * old.size / batch.size)


def put(run: Run, start: Start, earlier: Run | None = None, shared: Mapping[int, int] | None = None) -> None:
    """Store the initial state of ``run`` in its directory: the parent's files, as links where possible.

    Args:
        shared: the tokens that the parent has as well, with those there; ``None``: it has the same tokens.
        earlier: another run with the same start; if it exists, its files are used.
    """
    if earlier is not None and earlier != run and earlier.start.is_dir():
        _link(earlier.start, run.start)
        return
    run.start.mkdir(parents=True, exist_ok=True)
    parent = Run(Path(cast(str, start.directory)))
    if shared is not None:
        write_text(run.start / _SHARED, json.dumps(list(shared.items())))
    step = step_of(start, parent)
    if step is None:
        place_again(weights_file(parent, start.checkpoint, "start."), run.start / "weights.safetensors")
        return
    state = checkpoints.saved(parent.checkpoints)[step] / checkpoints.STATE
    if state.is_file():
        place_again(state, run.start / checkpoints.STATE)
    else:
        _link(state, run.start / checkpoints.STATE)


def _link(folder: Path, place: Path) -> None:
    """Link the files below ``folder`` to the same paths below ``place``."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = place / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            place_again(path, target)


def begin(run: Run, experiment: Experiment, module: LanguageModeling) -> None:
    """Load the initial weights and state of ``run`` into ``module``; called on every rank.

    Raises:
        UserError: they are damaged.
    """
    weights, state = run.start / "weights.safetensors", {}
    if not weights.exists():
        state = load_state(run.start / checkpoints.STATE, f"{run.path.name}: start")
    if (run.start / _SHARED).exists():
        of_parent = load_file(weights) if weights.exists() else weights_in(state)
        put_shared(module.model, of_parent, experiment, dict(read_json(run.start / _SHARED)))
    elif weights.exists():
        load_weights(module.model, weights)
    else:
        put_weights(module.model, weights_in(state), f"{run.start}")
    if experiment.start.optimizer:
        module.first_optimizer_state = state["optimizer_states"][0]
        module.first_carried_state = state["carried_state"]


@torch.no_grad()
def put_shared(
    model: nn.Module, weights: Mapping[str, Tensor], experiment: Experiment, shared: Mapping[int, int]
) -> None:
    """Load weights of a network with other tokens; ``model`` keeps its own rows of tokens that are not shared.

    Args:
        shared: tokens of ``model`` and the tokens of ``weights`` with the same bytes.
    """
    own = model.state_dict()
    per_token = _of_vocabulary(experiment)
    for name, value in weights.items():
        if (copies := per_token.get(name)) is None:
            own[name].copy_(value)
        else:
            rows = own[name].unflatten(0, (copies, -1))
            rows[:, list(shared)] = value.unflatten(0, (copies, -1))[:, list(shared.values())].to(rows)
