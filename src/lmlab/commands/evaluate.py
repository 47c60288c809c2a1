"""``lmlab evaluate``: score a run's model on a split in up to three ways, every token exactly once."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lmlab.commands import results
from lmlab.config import canonical
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl, write_text
from lmlab.runs.lookup import find
from lmlab.runs.run import Run, now


def task(composed: DictConfig) -> float:
    """Print and record the metrics; the value is the loss of the first of them, in nats per token."""
    wanted = canonical(composed)
    run = find(wanted["run"], Path(wanted["paths"]["runs"]))
    check(wanted)
    from lmlab.training import evaluation
    from lmlab.training.load import load_trained
    from lmlab.training.preflight import open_corpus, tokens_per_byte
    from lmlab.training.trainer import device_kind

    trained = load_trained(run, wanted["checkpoint"], device_kind(wanted["accelerator"]))
    context = wanted["context"] or trained.context
    stride = wanted["stride"] or max(1, context // 2)
    evaluation.check(wanted["metrics"], context, stride, trained.model.max_positions)
    corpus = open_corpus(trained.config | {"paths": wanted["paths"]}, progress=True)
    recorded = run.manifest["data"]["fingerprint"]
    if corpus.fingerprint != recorded:
        raise UserError(
            f"run={wanted['run']}: its data have changed since (fingerprint {recorded[:12]} then, "
            f"{corpus.fingerprint[:12]} now), so a score would not compare"
        )
    stream = corpus.tokens(wanted["split"])
    found = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=results.progress_console, transient=True) as bars:
        for metric in wanted["metrics"]:
            bar = bars.add_task(metric, total=len(stream) - 1)
            found[metric] = evaluation.evaluate(
                trained.model,
                stream,
                metric,
                tokens_per_byte=tokens_per_byte(corpus, wanted["split"]),
                context=context,
                stride=stride,
                streams=wanted["streams"],
                batch_size=wanted["batch_size"],
                advance=lambda tokens, bar=bar: bars.advance(bar, tokens),  # type: ignore[misc]
            )
    settings = {key: wanted[key] for key in ("split", "checkpoint", "streams")} | {"context": context, "stride": stride}
    record(run, settings, found)
    show(run, settings, found)
    return float(next(iter(found.values()))["loss"])


def check(wanted: dict[str, Any]) -> None:
    """Refuse values of the wrong kind before anything is loaded. Raises ``UserError``."""
    if not isinstance(wanted["metrics"], list) or not wanted["metrics"]:
        raise UserError(f"metrics={wanted['metrics']}: expected a list such as [fixed_window,stateful]")
    for key in ("context", "stride", "streams", "batch_size"):
        optional = key in ("context", "stride") and wanted[key] is None
        if not optional and (not isinstance(wanted[key], int) or isinstance(wanted[key], bool) or wanted[key] < 1):
            raise UserError(f"{key}={wanted[key]}: expected a whole number of at least 1")


def record(run: Run, settings: dict[str, Any], found: dict[str, Any]) -> None:
    """Keep the result with the run, as a line of ``evaluations.jsonl``; an older one with the same settings goes."""
    path = run.path / "evaluations.jsonl"
    kept = [row for row in read_jsonl(path) if row["settings"] != settings]
    rows = [*kept, {"settings": settings, "metrics": found, "time": now()}]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def show(run: Run, settings: dict[str, Any], found: dict[str, dict[str, float]]) -> None:
    """Print one row per way of scoring."""
    rows = []
    for metric, values in found.items():
        scores = {heading: form.format(values[name]) for name, (heading, form) in results.METRICS.items()}
        rows.append({"scored by": metric, "tokens": f"{values['tokens']:,}", **scores})
    title = f"{run.path.name}: {settings['split']} split, context {settings['context']}"
    results.print_table(title, rows, optional=["tokens", "calibration error", "accuracy"])
    results.say(
        f"sliding_window moves by {settings['stride']}; stateful reads {settings['streams']} streams with carried state. "
        f"Recorded in {run.path / 'evaluations.jsonl'}"
    )
