"""Beginning a run with the weights, and the optimizer state, of another one (see :mod:`lmlab.runs.start`)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from torch import nn

from lmlab.config import Config, differences
from lmlab.data.tasks import Task
from lmlab.errors import UserError
from lmlab.models.without_memory import without_memory
from lmlab.overrides import written
from lmlab.runs import checkpoints, events
from lmlab.runs.files import place_again
from lmlab.runs.run import Run, training_flops
from lmlab.runs.start import Start
from lmlab.training.load import load_state, load_weights, put_weights, saved_state, weights_file, weights_in
from lmlab.training.module import LanguageModeling
from lmlab.training.preflight import build_model


def check(config: Config, task: Task) -> dict[str, Any]:
    """Refuse a parent that ``config`` cannot begin with, and return what a run records of it.

    Returns:
        ``run``, ``directory``; ``step``: of the parent, at which it was left; ``steps``, ``tokens`` and ``flops`` of
        training, of the parent and of those before it; ``position``: the first step of the data order, which goes on
        behind the parent's where the data, the seed and the batches are the same.

    Raises:
        UserError: with the option that differs, or a file of the parent that is missing or damaged.
    """
    start = Start.of(config)
    parent = Run(Path(cast(str, start.directory)))
    before, manifest = parent.config, parent.manifest
    if start.optimizer:
        _check_optimizers(config, before, start)
    described = task.describe()
    for key in ("vocabulary", "tokenizer_fingerprint"):
        if described.get(key) != manifest["data"].get(key):
            raise UserError(
                f"tokenizer: its tokens are not those of start.run={start.run} (choose its tokenizer and its data)"
            )
    shapes = _shapes(parent, start)
    with without_memory():
        model = build_model(config, task)
    _check_shapes(model, shapes, config["model"], before["model"], start)
    step = start.step(parent)
    if step is None:
        step = int(manifest["training"]["stopped_at"])
    earlier = manifest.get("start") or {"steps": 0, "tokens": 0, "flops": 0, "position": 0}
    tokens = step * before["batch"]["size"] * before["batch"]["context"]
    return {
        "run": manifest["id"],
        "directory": start.directory,
        "step": step,
        "steps": earlier["steps"] + step,
        "tokens": earlier["tokens"] + tokens,
        "flops": earlier["flops"] + training_flops(manifest["sizes"]["flops_per_token"], tokens),
        "position": _position(config, before, task, parent, earlier["position"], step),
    }


def _check_optimizers(config: Config, before: Config, start: Start) -> None:
    if config["trainer"]["strategy"] == "fsdp":
        raise UserError("start.optimizer=true: not with trainer.strategy=fsdp (choose ddp, or start.optimizer=false)")
    for key, (old, new) in differences(before["optimizer"], config["optimizer"]).items():
        if key == "_target_":
            raise UserError(f"optimizer: start.optimizer=true needs that of start.run={start.run}, {old}, not {new}")
        if not key.endswith("lr"):  # learning rates may change; what else there is comes with the state
            raise UserError(
                f"optimizer.{key}={written(new)}: with start.optimizer=true it is that of start.run={start.run}, "
                f"optimizer.{key}={written(old)}"
            )


def _shapes(parent: Run, start: Start) -> dict[str, list[int]]:
    """Return the shapes of the weights that are begun with, by name. Raises ``UserError`` if they are damaged."""
    step = start.step(parent)
    if step is not None:
        return {name: list(value.shape) for name, value in weights_in(saved_state(parent, step, "start.")).items()}
    path = weights_file(parent, start.checkpoint, "start.")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: the weights cannot be read ({error})") from error


def _check_shapes(
    model: nn.Module, shapes: Mapping[str, list[int]], section: Config, before: Config, start: Start
) -> None:
    """Refuse another network than the parent's. Raises ``UserError`` that names the options that differ."""
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
        for key, (old, new) in differences(before, section).items()
        if not isinstance(new, dict)
    ]
    what = ", ".join(options) or f"model: {wrong[0]} has another shape"
    raise UserError(f"{what}: the weights of start.run={start.run} do not fit this model")


def _position(config: Config, before: Config, task: Task, parent: Run, position: int, step: int) -> int:
    """Return the step of the data order at which a run begins that comes after ``step`` of ``parent``."""
    batch, old = config["batch"], before["batch"]
    same_order = task.fingerprint == parent.manifest["data"]["fingerprint"] and config["seed"] == before["seed"]
    if not same_order or batch | {"size": None} != old | {"size": None}:
        return 0
    jumps = [(row["to"], row["step"]) for row in events.done(parent, "roll_back") if row.get("to") is not None]
    place = position + step + sum(end - first for first, end in jumps if first <= step)
    if batch["size"] == old["size"]:
        return place
    return 0 if batch["carry_state"] else math.ceil(place * old["size"] / batch["size"])


def put(run: Run, config: Config, earlier: Run | None = None) -> None:
    """Keep in the directory of ``run`` what it begins with: the parent's files, as links where there can be any.

    Args:
        earlier: another run that begins with the same; where it exists, the files are those that it keeps.
    """
    start = Start.of(config)
    if earlier is not None and earlier != run and earlier.start.is_dir():
        _link(earlier.start, run.start)
        return
    run.start.mkdir(parents=True, exist_ok=True)
    parent = Run(Path(cast(str, start.directory)))
    step = start.step(parent)
    if step is None:
        place_again(weights_file(parent, start.checkpoint, "start."), run.start / "weights.safetensors")
        return
    state = checkpoints.saved(parent.checkpoints)[step] / checkpoints.STATE
    if state.is_file():
        place_again(state, run.start / checkpoints.STATE)
    else:
        _link(state, run.start / checkpoints.STATE)


def _link(folder: Path, place: Path) -> None:
    """Let the files below ``place`` be those below ``folder``."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = place / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            place_again(path, target)


def begin(run: Run, config: Config, module: LanguageModeling) -> None:
    """Give ``module`` the weights, and the rest of the state, that ``run`` begins with; called on every rank.

    Raises:
        UserError: they are damaged.
    """
    start = Start.of(config)
    weights = run.start / "weights.safetensors"
    if weights.exists():
        load_weights(module.model, weights)
        return
    state = load_state(run.start / checkpoints.STATE, f"{run.path.name}: start")
    put_weights(module.model, weights_in(state), f"{run.start}")
    if start.optimizer:
        module.first_optimizer_state = state["optimizer_states"][0]
        module.first_carried_state = state["carried_state"]
