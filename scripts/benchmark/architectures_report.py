"""Output of architectures.py: tables, files of rows, and a figure of speed and state by context."""

import csv
import json
from pathlib import Path
from typing import Any

from rich.table import Table

Row = dict[str, Any]

REFERENCE = "transformer"
"""Ratios are to this model at the same context."""

PANELS = {
    "training_tokens_per_second": "training: tokens a second",
    "generation_tokens_per_second": "generation: tokens a second",
    "state_bytes": "state of a sequence: bytes",
}

SYMBOLS = ("circle", "square", "diamond", "triangle-up")


def label(name: str, compiled: bool) -> str:
    return f"{name}, compiled" if compiled else name


def short(value: float) -> str:
    """Write a number with three digits and k, M or G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def table_of_models(rows: list[Row], title: str) -> Table:
    """Return the table: lines for each model, a column for each context."""
    contexts = sorted({row["context"] for row in rows})
    models = list(dict.fromkeys(row["model"] for row in rows))
    table = Table(
        title=f"Tokens a second (in brackets: over {REFERENCE}), and bytes of state; {title}",
        title_justify="left",
    )
    for heading in ("on", "model", "what", *map(str, contexts)):
        table.add_column(heading, justify="right" if heading.isdigit() else "left", no_wrap=True)
    by_key = {(row["device"], row["compiled"], row["model"], row["context"]): row for row in rows}
    for device, compiled in dict.fromkeys(key[:2] for key in by_key):
        for name in models:
            for kind in ("training", "generation", "state"):
                if kind == "generation" and compiled:
                    continue
                entries = []
                for context in contexts:
                    row = by_key[device, compiled, name, context]
                    other = by_key.get((device, compiled, REFERENCE, context))
                    entries.append(entry(row, other, kind))
                first = kind == "training"
                table.add_row(label(device, compiled) if first else "", name if first else "", kind, *entries)
            table.add_section()
    return table


def entry(row: Row, reference: Row | None, kind: str) -> str:
    """Format the measurement of one model at one context, or the reason why there is none."""
    if kind == "state":
        return short(row["state_bytes"]) if row["state_bytes"] is not None else "-"
    speed = f"{kind}_tokens_per_second"
    if row[speed] is None:
        return row[f"{kind}_note"].split(":")[0]
    ratio = f" ({row[speed] / reference[speed]:.2f})" if reference and reference[speed] else ""
    return short(row[speed]) + ratio


def table_of_mixers(rows: list[Row], length: int) -> Table:
    table = Table(title=f"Time at once over a loop, {length} tokens forward and backward", title_justify="left")
    for heading in ("on", "mixer", "ratio", "goal below 1"):
        table.add_column(heading, justify="right" if heading == "ratio" else "left")
    for row in rows:
        ratio = row["ratio"]
        verdict = row["note"] if ratio is None else ("met" if ratio < 1 else "missed")
        table.add_row(row["device"], row["mixer"], "-" if ratio is None else f"{ratio:.3f}", verdict)
    return table


def write(rows: list[Row], folder: Path, name: str) -> list[Path]:
    """Write rows as CSV and as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, sheet = folder / f"{name}.jsonl", folder / f"{name}.csv"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [sheet, lines]


def draw(rows: list[Row], subtitle: str, path: Path) -> Path:
    """Draw a row of panels for each device, a colour and symbol for each model; compiled ones are dashed."""
    from plotly.colors import qualitative
    from plotly.graph_objects import Figure, Scatter
    from plotly.subplots import make_subplots

    devices = list(dict.fromkeys(row["device"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    contexts = sorted({row["context"] for row in rows})
    titles = [f"{device}, {title}" if len(devices) > 1 else title for device in devices for title in PANELS.values()]
    figure: Figure = make_subplots(rows=len(devices), cols=len(PANELS), subplot_titles=titles)
    named = set()
    for compiled in (False, True):
        for index, name in enumerate(models):
            colour = qualitative.D3[index % len(qualitative.D3)]
            symbol = SYMBOLS[index // len(qualitative.D3) % len(SYMBOLS)]
            for line, device in enumerate(devices, 1):
                for column, key in enumerate(PANELS, 1):
                    points = [
                        (row["context"], row[key])
                        for row in rows
                        if (row["device"], row["compiled"], row["model"]) == (device, compiled, name) and row[key]
                    ]
                    if not points:
                        continue
                    shown = label(name, compiled)
                    x, y = zip(*points, strict=True)
                    scatter = Scatter(
                        x=x,
                        y=y,
                        name=shown,
                        legendgroup=shown,
                        showlegend=shown not in named,
                        mode="lines+markers",
                        line={"color": colour, "width": 1.5, "dash": "dash" if compiled else "solid"},
                        marker={"symbol": symbol, "size": 7},
                        hovertemplate="%{y:.3s} at %{x}",
                    )
                    named.add(shown)
                    figure.add_trace(scatter, row=line, col=column)
    figure.update_xaxes(type="log", title="context", tickvals=contexts, ticktext=[str(context) for context in contexts])
    ticks = [digit * 10**power for power in range(-3, 13) for digit in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[short(tick) for tick in ticks])
    figure.update_layout(
        title={"text": "Architectures at equal parameters, against context", "subtitle": {"text": subtitle}},
        template="plotly_white",
        margin={"t": 120},
        height=160 + 520 * len(devices),
        hovermode="closest",
        legend={"title": {"text": "click: hide one, twice: show it alone"}, "tracegroupgap": 0, "font": {"size": 11}},
    )
    figure.write_html(path, include_plotlyjs=True)
    return path
