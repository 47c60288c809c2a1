"""``lmlab evaluate``: score a run's model on a split in up to three ways, every token exactly once."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lmlab.commands import results
from lmlab.config import Paths
from lmlab.errors import UserError
from lmlab.runs.files import read_jsonl, write_text
from lmlab.runs.lookup import find
from lmlab.runs.run import Run, now


def task(
    paths: Paths,
    run: str | None,
    split: str,
    checkpoint: str,
    metrics: list[str],
    context: int | None,
    stride: int | None,
    streams: int,
    batch_size: int,
    accelerator: str,
) -> float:
    """Print and record the metrics; the value is the loss of the first of them, in nats per token."""
    found = find(run, Path(paths["runs"]))
    from lmlab.training import evaluation
    from lmlab.training.load import load_trained
    from lmlab.training.preflight import open_corpus, tokens_per_byte
    from lmlab.training.trainer import device_kind

    trained = load_trained(found, checkpoint, device_kind(accelerator))
    context = trained.context if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    evaluation.check(metrics, context, stride, streams, batch_size, trained.model.max_positions)
    corpus = open_corpus(trained.config | {"paths": paths}, progress=True)
    recorded = found.manifest["data"]["fingerprint"]
    if corpus.fingerprint != recorded:
        raise UserError(
            f"run={run}: its data have changed (fingerprint {recorded[:12]} then, {corpus.fingerprint[:12]} now), "
            "so a score would not compare"
        )
    stream = corpus.tokens(split)
    scores = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=results.progress_console, transient=True) as bars:
        for metric in metrics:
            bar = bars.add_task(metric, total=len(stream) - 1)
            scores[metric] = evaluation.evaluate(
                trained.model,
                stream,
                metric,
                tokens_per_byte=tokens_per_byte(corpus, split),
                context=context,
                stride=stride,
                streams=streams,
                batch_size=batch_size,
                advance=partial(bars.advance, bar),
            )
    settings = {"split": split, "checkpoint": checkpoint, "streams": streams, "context": context, "stride": stride}
    record(found, settings, scores)
    show(found, settings, scores)
    return float(scores[metrics[0]]["loss"])


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
        f"sliding_window moves by {settings['stride']}; stateful reads {settings['streams']} streams. "
        f"Recorded in {run.path / 'evaluations.jsonl'}"
    )
