"""Output of results: tables that fit the terminal, samples, and the next commands."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from lmlab.analysis.options import by_choice, differing, text_of
from lmlab.analysis.records import Record, together
from lmlab.analysis.tasks import Trivial, leading
from lmlab.commands.by_arm import SPLITS, show_by_arm, show_grid
from lmlab.commands.tables import command, console, place, print_table, say
from lmlab.config import overrides
from lmlab.config.identity import NOT_IDENTITY
from lmlab.config.nodes import Config, at, differences
from lmlab.config.options import PARTS_OF_MODEL
from lmlab.metrics import VALIDATION, Measures, averaged, cost, is_averaged, score_of, split_of
from lmlab.numerals import byte_size, compact
from lmlab.runs.files import read_jsonl
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run
from lmlab.surroundings import printable
from lmlab.wandb.mirror import WandbRecord
from lmlab.wandb.settings import WandbOptions


def say_recorded(run: Run, config: Config) -> None:
    """Print that a recorded result is shown, and the differences in options and code since it was computed."""
    say("already finished; showing the recorded result (rerun=true to recompute)", f"{run.path.name}:")
    sharing = [key.removeprefix("trainer.") for key in NOT_IDENTITY if key.startswith("trainer.")]
    then, now = ({key: c["trainer"].get(key) for key in sharing} for c in (run.config, config))
    words = [f"trainer.{key}={overrides.written(value)}" for key, (value, _) in differences(then, now).items()]
    if words:
        say("", f"Computed with {' '.join(words)}, which gives the same result except for rounding.")
    if run.manifest["provenance"]["code"] != code_fingerprint(config):
        say("", "The code has changed since it was computed.", "yellow")


def measured(records: Iterable[Record]) -> list[str]:
    """Return the metrics of runs in :func:`summary`: all validation metrics, and those of the averaged weights."""
    names: dict[str, None] = {}
    for record in records:
        own, averages = record.measures, filter(is_averaged, record.manifest["metrics"])
        names |= dict.fromkeys([*own.names(), *own.shown, *(name for name in averages if own.metric(name))])
    return list(names)


def column(name: str) -> str:
    """Return the column of a metric in a row: ``loss`` for ``validation/loss``, ``ema_loss`` for ``ema/loss``."""
    return name.removeprefix(f"{VALIDATION}/").replace("/", "_")


def summary(record: Record, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return one flat row about a run: identity, choices, metrics, sizes and timings; absent values are ``None``.

    Args:
        names: the metrics to include; ``None``: see :func:`measured`.
    """
    manifest = record.manifest
    metrics, timings, start = manifest["metrics"], manifest.get("timings", {}), manifest.get("start") or {}
    return {
        "id": record.id,
        "name": manifest["name"],
        "status": record.status,
        "seed": record.seed,
        **{column(name): metrics.get(name) for name in (measured([record]) if names is None else names)},
        "parameters": manifest.get("sizes", {}).get("parameters", {}).get("total"),
        **{name: timings.get(name) for name in ("tokens", "tokens_per_second", "seconds", "utilisation")},
        "stage": manifest.get("stage"),
        "start": start.get("run"),
        "tokens_in_all": None if timings.get("tokens") is None else timings["tokens"] + start.get("tokens", 0),
        "created": manifest.get("created", ""),
        "tags": record.tags,
        "path": str(record.run.path),
    }


def headings(measures: Measures) -> dict[str, str]:
    """Return the headings of the metrics that a table of runs shows, by name."""
    return measures.headings() | {(name := averaged(measures.primary)): measures.label(name)}


def optional(several: Sequence[Measures]) -> list[str]:
    """Return the headings that a table of runs may omit: those of metrics that are no run's primary one."""
    primary = {score_of(measures.primary) for measures in several}
    return [heading for name, heading in headings(Measures.together(several)).items() if score_of(name) not in primary]


def cells(record: Record, measures: Measures) -> dict[str, str]:
    """Return a run's measurements as table cells, by heading.

    Args:
        measures: the metrics of all runs in the table.
    """
    row, own, metrics = summary(record), record.measures, record.manifest["metrics"]
    return {
        **{
            heading: own.written(name, metrics.get(name)) if name in own.shown or is_averaged(name) else ""
            for name, heading in headings(measures).items()
        },
        "parameters": compact(row["parameters"]),
        "tokens": compact(row["tokens"]),
        "utilisation": "" if row["utilisation"] is None else f"{row['utilisation']:.1%}",
        "tokens/s": "" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.0f}",
        "seconds": "" if row["seconds"] is None else f"{row['seconds']:,.1f}",
    }


def show_side_by_side(runs: Sequence[Run]) -> None:
    """Print runs as a table, best first, with the differences between their configurations, samples and paths.

    If arms have several runs, a table of the arms comes first. Several runs that are all on generated tasks are shown
    as a grid instead.
    """
    records = [Record.of(run) for run in dict.fromkeys(runs)]
    if not records:
        return
    measures = together(records)
    records.sort(key=lambda record: [cost(record.metric(name), measures.better(name)) for name in measures.shown])
    if len(records) > 1 and all(record.is_task for record in records):
        show_grid([record.run for record in records])
        return
    configs = [record.config for record in records]
    hidden = ("paths", "name", "logger", "tags", "rerun", "content")
    shown = by_choice(
        records, (key for key in differing(records) if key.split(".")[0] not in hidden and key != "start.directory")
    )
    # Options that the run's name contains need no column.
    shown = [key for key in shown if not all((record.choice(key) or "?") in record.label for record in records)]
    if all(record.architecture in record.label for record in records):
        shown = [key for key in shown if key not in ("model", *PARTS_OF_MODEL)]
    rows = []
    for record in records:
        arms = {key: escape(text_of(record, key)) for key in shown}
        rows.append({"run": escape(record.label), **arms, **cells(record, measures)})
    console.print()
    limits = {at(config, "validation.tokens") for config in configs}
    part = (
        ""
        if limits == {None}
        else "the first tokens of "
        if len(limits) > 1
        else f"the first {limits.pop():,} tokens of "
    )
    where = f"{part}the validation split"
    by_arm = show_by_arm(records, where)
    title = "Single runs, best first" if by_arm else f"Results on {where}, best first"
    print_table(title, rows, [*optional([record.measures for record in records]), "seconds", "tokens"])
    if len(records) <= 4:
        for record in records:
            show_sample(record)
    console.print()
    for record in records:
        say(f"Run directory: {place(record.run.path)}")


def show(run: Run) -> None:
    """Print one run's result, its newest sample and the next commands."""
    record = Record.of(run)
    row, measures, metrics = summary(record), record.measures, record.manifest["metrics"]
    lines = {_line(name, measures): measures.written(name, metrics.get(name)) for name in measured([record])}
    lines = {heading: value for heading, value in lines.items() if value}
    trivial = Trivial.of([record])
    for name in leading([record]):
        if (best := trivial.best(name)) is not None:
            lines[f"{_line(name, measures)} of the {best[0]}"] = measures.written(name, best[1])
    own = {name: value for name, value in metrics.items() if measures.metric(name) is None and value is not None}
    lines |= {measures.heading(name): f"{value:.4g}" for name, value in own.items()}  # logged by user's callbacks
    lines["parameters"] = f"{row['parameters']:,}"
    lines["tokens trained on"] = f"{row['tokens']:,}"
    if (parent := run.manifest.get("start")) is not None:
        lines[f"before, up to {parent['run']}"] = f"{parent['tokens']:,}"
    lines["tokens/s"] = f"{row['tokens_per_second']:,.0f}"
    lines["seconds of training"] = f"{row['seconds']:,.1f}"
    lines |= costs(run.manifest)
    table = Table(
        title=f"{row['name']} {row['id']}", title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column(min_width=28)
    table.add_column(justify="right")
    for line in lines.items():
        table.add_row(*line)
    console.print()
    console.print(table)
    show_sample(record)
    this = f"run={record.short_id}"
    say(f"\nRun directory: {place(run.path)}")
    say_wandb([run])
    generate = command("generate", this) + (' input="..."' if at(run.manifest, "data.template") else ' prompt="..."')
    say(f"Next: {generate}   {command('evaluate', this)}   {command('runs')}")


def _line(name: str, measures: Measures) -> str:
    """Return the heading of a metric in the result of one run."""
    if is_averaged(name):
        return f"EMA {measures.metrics[score_of(name)].heading}"
    split = split_of(name)
    return (
        f"{measures.label(name)} {SPLITS[split]}" if split != VALIDATION and split in SPLITS else measures.heading(name)
    )


def say_wandb(runs: Sequence[Run]) -> None:
    """Print the addresses of runs at W&B, and the command that sends missing data; nothing for runs without W&B."""
    records = {run: WandbRecord(run) for run in runs}
    logged = [run for run, record in records.items() if record.exists and WandbOptions.of(run.config) is not None]
    if not logged:
        return
    urls = list(dict.fromkeys(url for run in logged if (url := records[run].fields.get("url"))))
    if len(urls) > 1:  # show the pages of the projects instead
        urls = list(dict.fromkeys(url.partition("/runs/")[0] for url in urls))
    lacking = [run for run in logged if not records[run].complete]
    here = "" if urls else "offline so far   "
    sync = command("wandb", "sync", *([f"run={Record.of(logged[0]).short_id}"] if len(runs) == 1 else []))
    of = "" if len(runs) == 1 else f" of {len(lacking)} runs"
    missing = [f"{here}{sync} sends the missing data{of}"] if lacking else []
    say("   ".join([*urls, *missing]), "W&B:")


def costs(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the measured costs of a run: utilisation, memory, energy, and the speed of generation."""
    timings, lines = manifest["timings"], {}
    if "utilisation" in timings:
        lines["model FLOPs utilisation"] = f"{timings['utilisation']:.1%} of {timings['device']}"
    if "peak_memory_bytes" in timings:
        lines["peak memory"] = byte_size(timings["peak_memory_bytes"])
    if "joules" in timings:
        lines["energy of training"] = f"{timings['joules'] / 3600:,.2f} Wh"
    if speed := manifest.get("generation", {}).get("tokens_per_second"):
        lines["generated tokens/s"] = f"{speed:,.0f}"
    return lines


def show_sample(record: Record) -> None:
    """Print the newest sample of a run's text, if it wrote one."""
    rows = read_jsonl(record.run.samples)
    if rows and not record.is_task:
        name = escape(record.manifest["name"])
        console.print(f"\n[bold]A sample of {name}[/] (after {rows[-1]['tokens']:,} tokens):")
        console.print(escape(printable(rows[-1]["text"]).strip("\n")), style="dim", soft_wrap=True)
