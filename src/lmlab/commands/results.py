"""How results are shown: tables side by side, samples, and what to do next."""

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lmlab.config import Config, differences
from lmlab.runs.files import read_jsonl
from lmlab.runs.provenance import code_fingerprint
from lmlab.runs.run import Run

console = Console(highlight=False)
progress_console = Console(stderr=True)
"""Progress goes to standard error, so that standard output holds results only."""


def say(text: str) -> None:
    """Print one line, with rich markup."""
    console.print(text, soft_wrap=True)


def say_recorded(run: Run, config: Config) -> None:
    """Say that a finished run's result is returned as recorded, and whether code or data have changed since."""
    say(f"[bold]{run.path.name}[/] is finished: this is its recorded result (rerun=true computes it afresh)")
    if run.manifest["provenance"]["code"] != code_fingerprint(config):
        say("[yellow]The code has changed since it was computed.[/]")


def loss_of(run: Run) -> float:
    """The final validation loss in nats per token; nan if there is none."""
    return float(run.manifest["metrics"].get("validation/loss", math.nan))


COLUMNS = {
    "bits_per_byte": ("bits/byte", "validation/bits_per_byte", "{:.4f}"),
    "loss": ("loss (nats/token)", "validation/loss", "{:.4f}"),
    "perplexity": ("perplexity", "validation/perplexity", "{:,.2f}"),
    "accuracy": ("accuracy", "validation/accuracy", "{:.1%}"),
    "calibration_error": ("calibration error", "validation/calibration_error", "{:.3f}"),
}
"""Metric columns: heading, name in the manifest, format."""


def summary(run: Run) -> dict[str, Any]:
    """One flat row about a run: identity, choices, metrics, sizes and timings; absent values are ``None``."""
    manifest = run.manifest
    sizes, timings, metrics = manifest.get("sizes", {}), manifest.get("timings", {}), manifest["metrics"]
    return {
        "id": manifest["id"],
        "name": manifest["name"],
        "status": run.status,
        "seed": manifest["seed"],
        **{key: metrics.get(name) for key, (_, name, _) in COLUMNS.items()},
        "parameters": sizes.get("parameters", {}).get("total"),
        "tokens": timings.get("tokens"),
        "tokens_per_second": timings.get("tokens_per_second"),
        "seconds": timings.get("seconds"),
        "created": manifest["created"],
        "tags": manifest["tags"],
        "path": str(run.path),
    }


def show_side_by_side(runs: Sequence[Run]) -> None:
    """Print runs as a table, best first, with what differs between their configurations."""
    if not runs:
        return
    runs = sorted(dict.fromkeys(runs), key=lambda run: summary(run)["bits_per_byte"] or math.inf)
    configs = [run.config for run in runs]
    varied = sorted({key for config in configs[1:] for key in differences(configs[0], config)})
    shown = [key for key in varied if key.split(".")[0] not in ("paths", "name", "logger", "model", "tags", "rerun")]
    table = Table(title="Results on the validation split, best first", title_justify="left")
    for heading in ("run", *shown, "bits/byte", "loss (nats/token)", "parameters", "tokens", "tokens/s", "seconds"):
        table.add_column(heading, justify="left" if heading in ("run", *shown) else "right", overflow="fold")
    for run, config in zip(runs, configs, strict=True):
        row = summary(run)
        cells = [f"{row['name']} {row['id'][:6]}", *(str(_at(config, key)) for key in shown)]
        for value, form in (
            (row["bits_per_byte"], "{:.4f}"),
            (row["loss"], "{:.4f}"),
            (row["parameters"], "{:,}"),
            (row["tokens"], "{:,}"),
            (row["tokens_per_second"], "{:,.0f}"),
            (row["seconds"], "{:.1f}"),
        ):
            cells.append("" if value is None else form.format(value))
        table.add_row(*map(escape, cells))
    console.print()
    console.print(table)


def show(run: Run) -> float:
    """Print one run's result, its newest sample and the next commands; return its final validation loss."""
    row = summary(run)
    table = Table(title=f"{row['name']} {row['id']}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for key, (heading, _, form) in COLUMNS.items():
        if row[key] is not None:
            table.add_row(f"validation {heading}", form.format(row[key]))
    sizes, timings = run.manifest["sizes"], run.manifest["timings"]
    table.add_row("parameters", f"{sizes['parameters']['total']:,}")
    table.add_row("tokens trained on", f"{timings['tokens']:,}")
    table.add_row("tokens/s", f"{timings['tokens_per_second']:,.0f}")
    table.add_row("seconds of training", f"{timings['seconds']:,.1f}")
    console.print()
    console.print(table)
    show_sample(run)
    say(f"\nRun directory: {run.path}")
    say(f'Next: lmlab evaluate run={row["id"][:6]}  |  lmlab generate run={row["id"][:6]} prompt="..."  |  lmlab runs')
    return loss_of(run)


def show_sample(run: Run) -> None:
    """Print the newest sample of a run's text, if it wrote one."""
    rows = read_jsonl(run.samples)
    if rows:
        console.print(f"\n[bold]A sample of {escape(run.manifest['name'])}[/] (after {rows[-1]['tokens']:,} tokens):")
        console.print(escape(rows[-1]["text"].strip("\n")), style="dim", soft_wrap=True)


def as_json(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as JSON to standard output, for other programs."""
    print(json.dumps(rows, indent=2))


def _at(config: Config, dotted: str) -> Any:
    node: Any = config
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
