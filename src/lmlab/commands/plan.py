"""``lmlab plan``: estimate memory, time and cost of training runs on other devices, without data or training."""

import shlex
import sys
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.markup import escape

from lmlab.commands import tables
from lmlab.commands.describe import number_of_types
from lmlab.config.build import build
from lmlab.config.check import validate
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config
from lmlab.config.overrides import as_typed, option_of
from lmlab.errors import UserError, check_least, prefixed
from lmlab.numerals import byte_size, compact, duration
from lmlab.runs.files import dumps
from lmlab.runs.run import training_flops
from lmlab.training.threads import check_threads

UNROLLED = (
    "Recurrences of torch's own (RNN, GRU, LSTM): counted as unrolled steps; the kernels for a whole sequence may keep "
    "twice as much, and reach a smaller share of the peak."
)


class Planned(NamedTuple):
    """A run, or a stage of one, on the devices that it is planned for.

    Attributes:
        overrides: the words of the run.
        stage: empty without stages.
        load: what training asks for.
        cluster: the devices.
    """

    overrides: tuple[str, ...]
    stage: str
    load: Any
    cluster: Any


_PLANNED: list[Planned] = []
"""Of the jobs of a sweep, which run one after another in this process."""


def main(
    *,
    device: dict[str, Any],
    devices: int | None,
    devices_per_node: int,
    network: float,
    efficiency: float | None,
    price: float | None,
    vocabulary: int | None,
    format: Literal["table", "json"],
    **config: Any,
) -> None:
    """Print memory, time and cost on such devices for the run of ``config``, a configuration of ``lmlab train``.

    In a sweep, store them for the table at the end.
    """
    from lmlab.training.threads import use_threads

    hydra = HydraConfig.get()
    stages, overrides = config.pop("stages"), tuple(hydra.overrides.task)
    planned: list[Planned] = []
    for name, one in ({"": config} if stages is None else configs_of(stages)).items():
        with prefixed(f"stages.{name}" if name else ""):
            check(one, device)
            use_threads(Experiment.of(one).trainer.threads)  # where device=cpu is measured
            cluster = cluster_of(one, build(device), devices, devices_per_node, network, efficiency, price)
            planned.append(Planned(overrides, name, load_of(one, vocabulary), cluster))
    if format == "json":
        rows = {one.stage: as_json(one.load, one.cluster) for one in planned}
        run = {"overrides": overrides} if hydra.mode == RunMode.MULTIRUN else {}
        print(dumps(run | (rows[""] if stages is None else {"stages": rows}), indent=2))
    elif hydra.mode == RunMode.MULTIRUN:
        _PLANNED.extend(planned)
    else:
        show(planned)


def finish() -> None:
    """Print the plans of a sweep side by side after its last job."""
    if _PLANNED:
        show(_PLANNED)


def show(planned: list[Planned]) -> None:
    """Print a plan in full, or several side by side."""
    if len(planned) == 1:
        show_in_full(*planned)
    else:
        show_side_by_side(planned)


def configs_of(stages: Any) -> dict[str, Config]:
    """Return the configurations of an experiment's stages by name. Raises ``UserError``."""
    from lmlab.commands.stages import compose

    return {stage.name: stage.config for stage in compose(stages, HydraConfig.get().overrides.task, trains=False)}


def cluster_of(
    config: Config,
    device: Any,
    devices: int | None,
    devices_per_node: int,
    network: float,
    efficiency: float | None,
    price: float | None,
) -> Any:
    """Return the devices for which a training configuration is planned. Raises ``UserError``."""
    from lmlab.planning.plan import EAGER
    from lmlab.planning.workload import Cluster
    from lmlab.training.devices import check_efficiency

    trainer = Experiment.of(config).trainer
    if efficiency is None:
        efficiency = device.efficiency * (1 if trainer.compile else EAGER)
    check_efficiency(efficiency, "efficiency")
    device.peak(trainer.precision)
    number = devices if devices is not None else trainer.ranks
    return Cluster(device, number, devices_per_node, network, efficiency, device.price if price is None else price)


def as_json(load: Any, cluster: Any) -> dict[str, Any]:
    """Return the complete plan as plain values."""
    from lmlab.planning.plan import plans, recommended

    best = recommended(load, cluster)
    shown = {"device": asdict(cluster.device), "devices": cluster.devices, "nodes": cluster.nodes}
    shown |= {"efficiency": cluster.efficiency, "parameters": load.footprint.parameters}
    shown |= {"flops_per_token": training_flops(load.flops), "tokens": load.tokens, "steps": load.experiment.steps}
    shown |= {"plans": [as_row(plan, load, cluster) for plan in plans(load, cluster)]}
    return shown | {"recommended": as_row(best, load, cluster) if best else None}


def show_side_by_side(planned: list[Planned]) -> None:
    """Print a row with the recommended plan of each run or stage, and the sum over those that fit the same devices.

    Words that all runs have are in the title.
    """
    from lmlab.planning.plan import recommended

    runs = list(dict.fromkeys(one.overrides for one in planned))
    everywhere = [word for word in runs[0] if len(runs) > 1 and all(word in words for words in runs)]
    rows: list[dict[str, str]] = []
    sums = dict.fromkeys(("tokens", "flops", "seconds", "device_hours", "dollars"), 0.0)
    for one in planned:
        own = " ".join(as_typed(word) for word in one.overrides if word not in everywhere)
        labels = ({"run": own} if len(runs) > 1 else {}) | ({"stage": one.stage} if one.stage else {})
        cluster, best = one.cluster, recommended(one.load, one.cluster)
        if best is None:
            what = ", ".join(f"{name} {label}" for name, label in labels.items())
            tables.say(f"does not fit on {cluster.devices} x {cluster.device.name}", f"{what}:", "red")
            continue
        row = as_row(best, one.load, cluster)
        amounts = {"tokens": one.load.tokens, "flops": training_flops(one.load.flops, one.load.tokens)}
        amounts |= {key: row[key] or 0.0 for key in ("seconds", "device_hours", "dollars")}
        sums = {key: value + amounts[key] for key, value in sums.items()}
        size = {"parameters": compact(one.load.footprint.parameters)}
        plan = {"strategy": name_of(best), "accumulate": str(best.accumulate), "memory": byte_size(best.total)}
        rows.append({**{name: escape(label) for name, label in labels.items()}, **size, **plan, **_amounts(amounts)})
    if not rows:
        return
    clusters = (one.cluster for one in planned)
    on = {f"{each.devices} x {each.device.name} of {each.device.memory:.4g} GiB" for each in clusters}
    how = ["each as recommended"]
    if len(on) == 1:
        how = ["one after another", *how]
        rows.append(dict.fromkeys(rows[0], "") | {next(iter(rows[0])): "all"} | _amounts(sums))
    title = ", ".join([f"On {' or '.join(sorted(on))}", *how, *map(as_typed, everywhere)])
    tables.print_table(escape(title), rows, ["accumulate", "FLOPs", "parameters"])


def _amounts(values: dict[str, float]) -> dict[str, str]:
    return {
        "tokens": compact(values["tokens"]),
        "FLOPs": f"{values['flops']:.3g}",
        "time": duration(values["seconds"]),
        "device hours": f"{values['device_hours']:,.3g}",
        "cost": f"{values['dollars']:,.2f} $" if values["dollars"] else "",
    }


def check(config: Config, device: Config) -> None:
    """Refuse options that cannot be. Raises ``UserError``."""
    from lmlab.training.preflight import LIGHT_SECTIONS, check_objects

    for section in LIGHT_SECTIONS:
        if "_target_" not in config[section]:
            raise UserError(f"{section}: nothing is chosen, give an option as {section}=...")
        validate(config[section], section)
    if "_target_" not in device:
        raise UserError("device: nothing is chosen, give an option as device=...")
    validate(device, "device")
    experiment = Experiment.of(config)
    check_threads(experiment.trainer.threads, "trainer.threads")
    trainer = experiment.trainer
    check_least(1, "trainer.", devices=trainer.devices, nodes=trainer.nodes, accumulate=trainer.accumulate)
    check_objects(experiment)


def load_of(config: Config, vocabulary: int | None) -> Any:
    """Simulate what a training configuration asks for. Raises ``UserError``."""
    from lmlab.models.sizes import without_memory
    from lmlab.planning.workload import Load
    from lmlab.training.sizing import solve_width

    types, experiment = number_of_types(config, vocabulary), Experiment.of(config)
    context = experiment.batch.context
    node = solve_width(experiment.model, types, context)
    with without_memory():
        return Load.of(experiment, build(node, vocabulary=types, context=context), types)


def show_in_full(planned: Planned) -> None:
    """Print every plan, and the one that is recommended."""
    from lmlab.planning.plan import enough_devices, plans, recommended

    load, cluster = planned.load, planned.cluster
    every, best = plans(load, cluster), recommended(load, cluster)
    show_plans(load, cluster, every)
    recommend(planned, every, best, enough_devices(load, cluster) if best is None else None)


def show_plans(load: Any, cluster: Any, every: list[Any]) -> None:
    """Print the tables of memory and time, and their assumptions."""
    from lmlab.planning.plan import ALLOWANCE
    from lmlab.planning.workload import LINK_SHARE

    settings, device = load.experiment, cluster.device
    tables.say(
        f"{compact(load.footprint.parameters)} parameters, {load.vocabulary:,} types, "
        f"{load.tokens:,} tokens in {settings.steps:,} steps of {settings.batch.size:,} x "
        f"{settings.batch.context:,}",
        "Run:",
    )
    tables.say(
        f"{compact(training_flops(load.flops))} a token "
        f"({training_flops(load.flops) / load.footprint.parameters:.1f} for each parameter: 6 for those "
        f"in matrix products, and attention and the like with {settings.batch.context:,} tokens), "
        f"{training_flops(load.flops) * load.tokens:.3g} in total",
        "FLOPs:",
    )
    machines = f" in {cluster.nodes} machines" if cluster.nodes > 1 else ""
    tables.say(f"{cluster.devices} x {device.name} of {device.memory:.4g} GiB{machines}", "On:")
    if not every:
        times = f"devices={cluster.devices} times trainer.accumulate={load.accumulate}"
        tables.say(f"batch.size={settings.batch.size} is not divisible by {times}: no way to share it", "", "yellow")
        return
    print_plans(load, cluster, every)
    waits = "DDP's hides behind the last backward pass, FSDP's behind computing, that of tensor parallelism does not"
    for line in (
        f"Memory: in {load.precision}, by simulation. Working: weights gathered or copied in lower precision, "
        f"buckets of gradients. Allowance: {ALLOWANCE:.0%} and {device.reserved:g} GiB of the device.",
        f"Computing: {cluster.efficiency:.0%} of a peak of {device.peak(load.precision) / 1e12:.4g} TFLOPS "
        f"(efficiency=; published runs reach 0.3 to 0.65), once more forward with checkpointing. No validation, "
        "checkpoints or compiling.",
        f"Communication: {device.link:.4g} GB/s between devices, {cluster.network:g} GB/s between machines, "
        f"{LINK_SHARE:.0%} of it reached; {waits}. The optimizer: {device.bandwidth:.4g} GB/s of memory.",
        "Tensor parallelism: with sequence parallelism, all parts of a block divided, within a machine.",
        *(["Moving average (callbacks=ema): whole on every device, so with DDP only."] if load.average else []),
        *([UNROLLED] if load.unrolled else []),
        "Price: " + (f"${cluster.price:g} for a device an hour." if cluster.price else "not known (price=)."),
    ):
        tables.say(line, "", "")


def print_plans(load: Any, cluster: Any, every: list[Any]) -> None:
    """Print one row per plan: a table of memory, then a table of time."""
    memory, time = [], []
    for plan in every:
        row = {"strategy": name_of(plan), "micro-batch": f"{plan.rows:,} x {load.experiment.batch.context:,}"}
        row |= {kind: byte_size(size) for kind, size in plan.memory.items()}
        memory.append(row | {"total": byte_size(plan.total), "fits": "yes" if plan.fits else "[red]no[/red]"})
        numbers = as_row(plan, load, cluster)
        cost = {"cost": f"{numbers['dollars']:,.0f} $" if cluster.price else ""}
        time.append(
            {
                "strategy": name_of(plan),
                "step": duration(plan.step),
                "waiting": f"{plan.seconds['waiting'] / plan.step:.1%}",
                "sent (a step)": byte_size(round(plan.volume)),
                "tokens/s": compact(numbers["tokens_per_second"]),
                "MFU": f"{numbers['utilisation']:.0%}",
                "run": duration(numbers["seconds"]),
                "device hours": f"{numbers['device_hours']:,.3g}",
            }
            | cost
        )
    tables.console.print()
    tables.print_table("Memory of each device", memory, ["micro-batch", "allowance", "gradients", "weights"])
    tables.console.print()
    tables.print_table("Time", time, ["sent (a step)", "device hours", "MFU"])
    tables.console.print()


def recommend(planned: Planned, every: list[Any], best: Any, more: Any) -> None:
    """Print the recommended plan and the command that starts it."""
    load, cluster = planned.load, planned.cluster
    needed = min((plan.total for plan in every), default=None)
    if best is None:
        what = f"needs {byte_size(needed)} at least" if needed else "cannot be shared"
        tables.say(f"it {what}, with every strategy.", f"Does not fit on {cluster.devices} devices:", "red")
        if more is None:
            tables.say("more devices do not help: smaller parts of a batch, or a smaller model.")
        else:
            tables.say(
                f"devices={more.devices}, {described(more)}, {byte_size(more.total)} each.", "Would fit:", "green"
            )
        return
    row = as_row(best, load, cluster)
    cost = f", {row['dollars']:,.2f} $" if cluster.price else ""
    tables.say(
        f"{described(best)}: {byte_size(best.total)} of {cluster.device.memory:.4g} GiB, "
        f"{duration(row['seconds'])}{cost}.",
        "Recommended:",
        "green",
    )
    if load.precision == "32-true" and cluster.device.half > cluster.device.single:
        tables.say(
            f"trainer.precision=bf16-mixed computes {cluster.device.half / cluster.device.single:.2g} times as fast."
        )
    tables.say(command(planned.overrides, best, cluster), "", "")


def as_row(plan: Any, load: Any, cluster: Any) -> dict[str, Any]:
    """Return a plan as plain numbers, with the time and cost of the whole run."""
    seconds = plan.step * load.experiment.steps
    peak = cluster.device.peak(load.precision) * cluster.devices
    hours = seconds / 3600 * cluster.devices
    return asdict(plan) | {
        "total": plan.total,
        "step_seconds": plan.step,
        "tokens_per_second": load.experiment.batch.tokens / plan.step,
        "utilisation": training_flops(load.flops) * load.experiment.batch.tokens / plan.step / peak,
        "seconds": seconds,
        "device_hours": hours,
        "dollars": hours * cluster.price if cluster.price else None,
    }


OWN = ("device", "devices", "devices_per_node", "network", "efficiency", "price", "vocabulary", "format")
"""Options that ``lmlab train`` does not have."""

SHARED = ("trainer.devices", "trainer.nodes", "trainer.strategy", "trainer.accumulate", "trainer.accelerator")
"""Options that a plan determines."""


def name_of(plan: Any) -> str:
    """Return the name of a plan's strategy for a table: fsdp 4 x tp 2, checkpointed."""
    size = {
        "ddp": "ddp",
        "fsdp": "fsdp",
        "tp": f"tp {plan.group}",
        "fsdp x tp": f"fsdp {plan.shards} x tp {plan.group}",
    }
    name = size[plan.strategy]
    if plan.strategy == "tp" and plan.devices > plan.group:
        name = f"ddp {plan.devices // plan.group} x {name}"
    return name + (", checkpointed" if plan.checkpointing else "")


def described(plan: Any) -> str:
    """Return a plan in words."""
    return f"{name_of(plan)}, trainer.accumulate={plan.accumulate} (micro-batches of {plan.rows:,})"


def words_of(plan: Any, cluster: Any) -> list[str]:
    """Return the options of ``lmlab train`` that distribute a run as planned."""
    inside = min(plan.devices, cluster.per_node)
    words = [f"trainer.devices={inside}"] if plan.devices > 1 else []
    words += [f"trainer.nodes={plan.devices // inside}"] if plan.devices > inside else []
    words += ["trainer.strategy=fsdp"] if plan.strategy != "ddp" else []
    words += [f"trainer.tensor_parallel={plan.group}"] if plan.group > 1 else []
    words += ["trainer.activation_checkpointing=true"] if plan.checkpointing else []
    return [*words, f"trainer.accumulate={plan.accumulate}"] if plan.accumulate > 1 else words


def command(overrides: tuple[str, ...], plan: Any, cluster: Any) -> str:
    """Return the command that starts the run of ``overrides`` as planned."""
    decided = SHARED if plan.strategy == "ddp" else (*SHARED, "trainer.compile")  # shards are not compiled
    words = [word for word in overrides if not _is(word, OWN) and not _is(word, decided)]
    accelerator = [] if cluster.device.name.startswith("this CPU") else ["trainer.accelerator=cuda"]
    flags = [word for word in sys.argv[1:] if word.startswith("--config-dir")]
    return shlex.join(["lmlab", "train", *flags, *words, *accelerator, *words_of(plan, cluster)])


def _is(word: str, options: tuple[str, ...]) -> bool:
    key = option_of(word)
    return any(key == option or key.startswith(f"{option}.") for option in options)
