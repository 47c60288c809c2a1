"""``lmlab describe``: parts and costs of a model, without data or training; with -m, of several models side by side."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lmlab.commands import tables
from lmlab.config.build import build
from lmlab.config.check import check_arguments, validate
from lmlab.config.experiment import Experiment
from lmlab.config.nodes import Config, at
from lmlab.config.options import architecture
from lmlab.config.overrides import written
from lmlab.errors import UserError
from lmlab.numerals import byte_size, compact
from lmlab.runs.run import training_flops

CONTEXTS = (1, 128, 1024, 8192, 65_536, 1_048_576)
"""Tokens after which the size of a state is shown."""

ACTIVATIONS = (
    "Activations: what the forward pass keeps for the backward pass, with fused attention; buffers that live for one "
    "operation come on top."
)
NOT_COUNTED = (
    "Counted: matrix products. Not counted: look-ups, norms, activations, softmax, gates and other element-wise work, "
    "and what a backward pass computes a second time."
)

_ROWS: list[dict[str, Any]] = []
"""Results of the jobs of a sweep, which run one after another in this process."""


def main(*, vocabulary: int | None, **config: Any) -> None:
    """Print the parts and costs of the model; in a sweep, store them for the table at the end.

    ``config`` is a configuration of ``lmlab train``. Only the model, the optimizer, the batch, the callbacks and,
    without ``vocabulary``, the data and the tokenizer are used.
    """
    hydra = HydraConfig.get()
    choices: Mapping[str, Any] = hydra.runtime.choices
    if config["stages"] is not None:
        from lmlab.commands.stages import compose

        stages = compose(config["stages"], hydra.overrides.task, trains=False)
        if hydra.mode != RunMode.MULTIRUN:
            tables.say(f"{stages[-1].name}, the last of {len(stages)}", "Stage:")
        config, choices = stages[-1].config, stages[-1].choices
    model, batch = config["model"], config["batch"]
    if hydra.mode != RunMode.MULTIRUN:
        built, node = built_model(model, number_of_types(config, vocabulary), batch)
        title = architecture(choices, model.get("pattern"))
        show(built, node, measure(built, config), title)
        return
    job = {"overrides": list(hydra.overrides.task)}
    try:
        built, node = built_model(model, number_of_types(config, vocabulary), batch)
        row = {"status": "described", "model": node, **measure(built, config)}
    except UserError as error:
        row = {"status": "failed", "error": str(error)}
    _ROWS.append(job | row)


def finish() -> None:
    """Print all models of a sweep side by side after its last job; exit with code 1 if any was refused."""
    described = [row for row in _ROWS if row["status"] == "described"]
    if described:
        show_side_by_side(described)
    failed = [row for row in _ROWS if row["status"] == "failed"]
    for row in failed:
        tables.say(f"{shlex.join(row['overrides'])}: {row['error']}", "failed:", "red")
    if failed:
        sys.exit(1)


def built_model(node: Config, vocabulary: int, batch: dict[str, Any]) -> tuple[Any, Config]:
    """Return the network of a section ``model`` without memory, and the section with the solved width.

    Raises:
        UserError: an option is wrong.
    """
    from lmlab.config.experiment import Batch
    from lmlab.models.sizes import without_memory
    from lmlab.training.sizing import solve_width

    if "_target_" not in node:
        raise UserError("model: nothing is chosen, give an option as model=...")
    validate(node, "model")
    check_arguments(Batch, batch, "batch.")
    context = Batch(**batch).context
    node = solve_width(node, vocabulary, context)
    with without_memory():
        return build(node, vocabulary=vocabulary, context=context), node


MOST_TYPES = 2**31 - 1


def number_of_types(config: Config, vocabulary: int | None) -> int:
    """Return the number of types of the tokenizer of a configuration of ``lmlab train``.

    The text is read, as for training, only if the number does not follow from the options.

    Args:
        vocabulary: a number to use instead.

    Raises:
        UserError: the number is out of range, or the types cannot be counted.
    """
    if vocabulary is not None:
        if not 1 <= vocabulary <= MOST_TYPES:
            raise UserError(f"vocabulary={vocabulary}: expected at least 1 and at most {MOST_TYPES}")
        return vocabulary
    for section in ("data", "tokenizer"):
        validate(config[section], section)
    if isinstance(size := at(config, "data.vocabulary"), int):  # a generated task
        return size
    data, tokenizer = build(config["data"]), build(config["tokenizer"])
    if isinstance(size := getattr(data, "vocabulary", None), int):
        return size
    if size := at(config, "tokenizer.size") or (tokenizer.size if tokenizer.fitted else None):
        return int(size)
    from lmlab.training.preflight import open_task

    experiment = Experiment.of(config)
    return int(open_task(experiment, experiment.progress).tokenizer.size)


def measure(model: Any, config: Config) -> dict[str, Any]:
    """Return the costs of a network on the meta device in a training configuration, as plain numbers."""
    from lmlab.models.anatomy import parameters_by_kind
    from lmlab.models.parameters import parameter_counts
    from lmlab.models.sizes import flops_per_token, state_bytes
    from lmlab.planning.memory import generation_memory, training_memory
    from lmlab.training.optimizers.groups import make_optimizer

    experiment = Experiment.of(config)
    batch, optimizer, averaged = experiment.batch, experiment.optimizer, experiment.keeps_average
    validate(optimizer, "optimizer")
    context = batch.context
    declared = model.state_size(1) is not None
    longest = model.max_positions or CONTEXTS[-1]
    contexts = [length for length in CONTEXTS if length <= (longest if declared else min(longest, 128))]
    return {
        "batch": asdict(batch),
        "parameters": parameter_counts(model),
        "parameters_by_kind": parameters_by_kind(model),
        "state_bytes": {str(length): state_bytes(model, length) for length in contexts},
        "flops_per_token": flops_per_token(model, context),
        "training_memory": training_memory(model, partial(make_optimizer, optimizer), batch.size, context, averaged),
        "generation_memory": generation_memory(model, context),
    }


def show(model: Any, node: Config, costs: dict[str, Any], title: str) -> None:
    """Print the diagram of a model and the tables of its costs."""
    from lmlab.models.anatomy import parts_of

    total = costs["parameters"]["total"]
    sizes = ", ".join(f"{key} {node[key]:,}" for key in ("width", "depth") if isinstance(node.get(key), int))
    tables.console.print(diagram(parts_of(model), f"{title}  {sizes}", min(tables.console.width, 100)))
    rows: list[tuple[str, ...]]
    kinds = {kind: count for kind, count in costs["parameters_by_kind"].items() if count}
    rows = [(kind, f"{count:,}", f"{count / total:.1%}") for kind, count in kinds.items()]
    rows += [(kind.replace("_", " "), f"{count:,}", "") for kind, count in costs["parameters"].items()]
    _print("Parameters", ["", "number", "share"], rows)
    states = costs["state_bytes"]
    size, context = costs["batch"]["size"], costs["batch"]["context"]
    headings = ["tokens read", *(f"{int(length):,}" for length in states)]
    _print("State of one sequence", headings, [("state", *map(byte_size, states.values()))])
    flops = costs["flops_per_token"]
    tokens = size * context
    batch = (f"a batch of {size:,} x {context:,}", f"{flops * tokens:,}", f"{training_flops(flops, tokens):,}")
    _print(
        f"Floating-point operations at a context of {context:,} tokens",
        ["", "forward", "training"],
        [("a token", f"{flops:,}", f"{training_flops(flops):,}"), batch],
    )
    tables.console.print(NOT_COUNTED, style="dim")
    columns = [costs["training_memory"], costs["generation_memory"]]
    parts = dict.fromkeys(part for column in columns for part in column)
    rows = [(part, *(byte_size(column[part]) if part in column else "" for column in columns)) for part in parts]
    rows.append(("total", *(byte_size(sum(column.values())) for column in columns)))
    _print("Memory in float32", ["", f"training, {size:,} x {context:,}", f"generating, 1 x {context:,}"], rows)
    tables.console.print(ACTIVATIONS, style="dim")


def show_side_by_side(rows: list[dict[str, Any]]) -> None:
    """Print one row per model; overrides that all of them have are in the title."""
    everywhere = [word for word in rows[0]["overrides"] if all(word in row["overrides"] for row in rows)]
    everywhere = everywhere if len(rows) > 1 else []
    table = []
    for row in rows:
        states = row["state_bytes"]
        own = [word.removeprefix("model=") for word in row["overrides"] if word not in everywhere]
        table.append(
            {
                "model": escape(" ".join(own)),
                "width (x depth)": " x ".join(str(row["model"].get(key, "")) for key in ("width", "depth")),
                "parameters": compact(row["parameters"]["total"]),
                "non- (embedding)": compact(row["parameters"]["non_embedding"]),
                "matmul": compact(row["parameters"]["matmul"]),
                "state (after context)": byte_size(row["generation_memory"]["state"]),
                "state (after 65,536)": byte_size(states["65536"]) if "65536" in states else "",
                "FLOPs (a token)": compact(row["flops_per_token"]),
                "training (memory)": byte_size(sum(row["training_memory"].values())),
            }
        )
    batches = {f"{row['batch']['size']:,} x {row['batch']['context']:,}" for row in rows}
    title = escape(", ".join([f"Models side by side: batch {' or '.join(sorted(batches))}", *everywhere]))
    tables.print_table(title, table, ["width (x depth)", "state (after 65,536)", "matmul", "non- (embedding)"])
    tables.say("FLOPs: of the forward pass. Without -m, lmlab describe shows a model in full.")


def diagram(part: Any, title: str, width: int) -> Tree:
    """Return the parts of a model as a tree of ``width`` columns, parameters to the right."""
    root = Tree(_line(Text(title, "bold"), f"{part.parameters:,}", width), guide_style="dim")
    for child in part.parts:
        _grow(root, child, width - 4)
    return root


def _grow(tree: Tree, part: Any, width: int) -> None:
    if part.kind == "ModuleList":  # show its members instead
        for member in part.parts:
            member.name = _numbered(part.name, member.name)
            member.same_as = member.same_as and _numbered(part.name, member.same_as)
            _grow(tree, member, width)
        return
    described = (part.kind, "bold"), (part.shape, "")
    label = Text.assemble((part.name, "cyan"), *((f"  {text}", style) for text, style in described if text))
    options = ", ".join(_option(key, value) for key, value in part.options.items() if value)
    if part.same_as:
        options = f"as {part.same_as}"
    label.append(f"  {options}" if options else "", "dim")
    tied = "the embedding's" + (" + " if part.parameters else "")
    count = (tied if part.tied else "") + (f"{part.parameters:,}" if part.parameters or not part.tied else "")
    branch = tree.add(_line(label, f"{part.times} x {count}" if part.times > 1 else count, width))
    for child in part.parts:
        _grow(branch, child, width - 4)


def _line(left: Text, right: str, width: int) -> Text:
    left.truncate(width - len(right) - 2, overflow="ellipsis")
    return Text.assemble(left, " " * (width - left.cell_len - len(right)), right)


def _numbered(many: str, number: str) -> str:
    """Return the name of members of a list: ``blocks 0 to 3``, but ``block 4``."""
    return f"{many if ' ' in number else many.removesuffix('s')} {number}"


def _option(key: str, value: Any) -> str:
    return key if value is True else f"{key} {written(value)}"


def _print(title: str, headings: list[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == "total" else "")
    tables.console.print()
    tables.console.print(Text(title, "bold"))
    tables.console.print(table)
