"""How results are shown: tables that fit the terminal, samples, and what to do next."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lmlab.config import Config, differences
from lmlab.runs.files import read_jsonl
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run

_WIDE = 160
"""Columns of output that no terminal limits: a file or another program reads it."""


def _console(**options: Any) -> Console:
    found = Console(highlight=False, **options)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=_WIDE, **options)


console = _console()
progress_console = _console(stderr=True)
"""Progress goes to standard error, so that standard output holds results only."""

METRICS = {
    "bits_per_byte": ("bits/byte", "{:.4f}"),
    "loss": ("loss (nats/token)", "{:.4f}"),
    "perplexity": ("perplexity", "{:,.2f}"),
    "accuracy": ("accuracy", "{:.1%}"),
    "calibration_error": ("calibration error", "{:.3f}"),
}
"""Heading and format of each metric."""


def say(text: str, head: str = "", style: str = "bold") -> None:
    """Print a line of plain text, after ``head`` in ``style`` (brackets in a message are no markup)."""
    console.print(Text.assemble((head, style), " " if head and text else "", text), soft_wrap=True)


def compact(number: float | None) -> str:
    """A number to three digits with k, M or G: 1,052,672 is 1.05M."""
    if number is None:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:g}"


def print_table(title: str, rows: Sequence[Mapping[str, str]], optional: Sequence[str] = ()) -> None:
    """Print rows of rich markup; columns named in ``optional`` are left out, from the last, until the table fits."""
    headings = list(rows[0])
    leave_out = list(optional)
    while True:
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            pad_edge=False,
            show_edge=False,
            collapse_padding=True,
        )
        for heading in headings:
            numeric = all(row[heading][:1].isdigit() for row in rows if row[heading])
            # A unit below what it belongs to leaves room for more columns.
            shown = heading.replace(" (", "\n").removesuffix(")")
            table.add_column(shown, justify="right" if numeric else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(row[heading] for heading in headings))
        if (
            Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width
            or not leave_out
        ):
            console.print(table)
            return
        headings.remove(leave_out.pop())


def say_recorded(run: Run, config: Config) -> None:
    """Say that a finished run's result is returned as recorded, and whether the code has changed since."""
    say("is finished: this is its recorded result (rerun=true computes it afresh)", run.path.name)
    if run.manifest["provenance"]["code"] != code_fingerprint(config):
        say("", "The code has changed since it was computed.", "yellow")


def loss_of(run: Run) -> float:
    """The final validation loss in nats per token; nan if there is none."""
    return float(run.manifest["metrics"].get("validation/loss", math.nan))


def summary(run: Run) -> dict[str, Any]:
    """One flat row about a run: identity, choices, metrics, sizes and timings; absent values are ``None``."""
    manifest = run.manifest
    sizes, timings, metrics = manifest.get("sizes", {}), manifest.get("timings", {}), manifest["metrics"]
    return {
        "id": manifest["id"],
        "name": manifest["name"],
        "status": run.status,
        "seed": manifest["seed"],
        **{name: metrics.get(f"validation/{name}") for name in METRICS},
        "parameters": sizes.get("parameters", {}).get("total"),
        "tokens": timings.get("tokens"),
        "tokens_per_second": timings.get("tokens_per_second"),
        "seconds": timings.get("seconds"),
        "created": manifest["created"],
        "tags": manifest["tags"],
        "path": str(run.path),
    }


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A run's measurements as table cells, by heading."""
    shown = {
        heading: "" if row[name] is None else form.format(row[name])
        for name, (heading, form) in METRICS.items()
        if name in ("bits_per_byte", "loss")
    }
    return shown | {
        "parameters": compact(row["parameters"]),
        "tokens": compact(row["tokens"]),
        "tokens/s": "" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.0f}",
        "seconds": "" if row["seconds"] is None else f"{row['seconds']:,.1f}",
    }


def show_side_by_side(runs: Sequence[Run]) -> None:
    """Print runs as a table, best first, with what differs between their configurations, samples and paths."""
    runs = sorted(dict.fromkeys(runs), key=lambda run: _for_order(summary(run)["bits_per_byte"]))
    if not runs:
        return
    configs = [run.config for run in runs]
    varied = sorted({key for config in configs[1:] for key in differences(configs[0], config)})
    shown = [key for key in varied if key.split(".")[0] not in ("paths", "name", "logger", "tags", "rerun")]
    if len({run.manifest["choices"].get("model") for run in runs}) > 1:  # a run's name says which, and so their parts
        shown = [key for key in shown if not key.startswith("model.")]
    rows = []
    for run, config in zip(runs, configs, strict=True):
        row = summary(run)
        arms = {key: escape(str(_at(config, key))) for key in shown}
        rows.append({"run": f"{escape(row['name'])} {row['id'][:6]}", **arms, **cells(row)})
    console.print()
    limits = {config["validation"]["tokens"] for config in configs}
    part = (
        ""
        if limits == {None}
        else "the first tokens of "
        if len(limits) > 1
        else f"the first {limits.pop():,} tokens of "
    )
    print_table(
        f"Results on {part}the validation split, best first", rows, optional=["loss (nats/token)", "seconds", "tokens"]
    )
    if len(runs) <= 4:
        for run in runs:
            show_sample(run)
    console.print()
    for run in runs:
        say(f"Run directory: {run.path}")


def show(run: Run) -> float:
    """Print one run's result, its newest sample and the next commands; return its final validation loss."""
    row = summary(run)
    lines = {
        f"validation {heading}": form.format(row[name])
        for name, (heading, form) in METRICS.items()
        if row[name] is not None
    }
    lines["parameters"] = f"{row['parameters']:,}"
    lines["tokens trained on"] = f"{row['tokens']:,}"
    lines["tokens/s"] = f"{row['tokens_per_second']:,.0f}"
    lines["seconds of training"] = f"{row['seconds']:,.1f}"
    table = Table(
        title=f"{row['name']} {row['id']}", title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column(min_width=28)
    table.add_column(justify="right")
    for line in lines.items():
        table.add_row(*line)
    console.print()
    console.print(table)
    show_sample(run)
    short = row["id"][:6]
    say(f"\nRun directory: {run.path}")
    if (run.path / "wandb.json").exists():
        place = json.loads((run.path / "wandb.json").read_text())
        say(f"W&B: {place['url']}" if "url" in place else f"W&B (offline): wandb sync {run.path}/wandb/offline-run-*")
    say(f'Next: lmlab generate run={short} prompt="..."   lmlab evaluate run={short}   lmlab runs')
    return loss_of(run)


def show_sample(run: Run) -> None:
    """Print the newest sample of a run's text, if it wrote one."""
    rows = read_jsonl(run.samples)
    if rows:
        console.print(f"\n[bold]A sample of {escape(run.manifest['name'])}[/] (after {rows[-1]['tokens']:,} tokens):")
        console.print(escape(printable(rows[-1]["text"]).strip("\n")), style="dim", soft_wrap=True)


def printable(text: str) -> str:
    """The text without control characters, which could do things to a terminal; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _for_order(value: float | None) -> float:
    """What a run that diverged, or has no such metric, is sorted by: last."""
    return value if value is not None and math.isfinite(value) else math.inf


def _at(config: Config, dotted: str) -> Any:
    node: Any = config
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
