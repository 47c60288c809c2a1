"""``lmlab evaluate``: score a run's model on a split in up to three ways, every token exactly once."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lmlab.commands import results, tables
from lmlab.config import Paths
from lmlab.errors import UserError, nearest
from lmlab.numerals import written
from lmlab.runs.files import read_jsonl, write_rows
from lmlab.runs.lookup import find
from lmlab.runs.run import Run, now

COLUMNS = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


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
    trust: bool = False,
) -> float:
    """Print and record the metrics; the value is the loss of the first of them, in nats per token."""
    found = find(run, Path(paths["runs"]))
    from lmlab.data.source import CorpusSource
    from lmlab.training import evaluation
    from lmlab.training.load import load_trained
    from lmlab.training.preflight import open_source
    from lmlab.training.trainer import device_kind

    trained = load_trained(found, checkpoint, device_kind(accelerator), trust)
    source = open_source(trained.config | {"paths": paths}, progress=True)
    recorded = found.manifest["data"]["fingerprint"]
    if source.fingerprint != recorded:
        raise UserError(
            f"run={run}: its data have changed (fingerprint {recorded[:12]} then, {source.fingerprint[:12]} now), "
            "so a score would not compare"
        )
    if not isinstance(source, CorpusSource):
        return evaluate_task(found, trained, split, checkpoint, context)
    context = trained.context if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    evaluation.check(metrics, context, stride, streams, batch_size, trained.model.max_positions)
    corpus = source.corpus
    stream = corpus.tokens(split)
    scores = {}
    with Progress(*COLUMNS, console=tables.progress_console, transient=True) as bars:
        for metric in metrics:
            bar = bars.add_task(metric, total=len(stream) - 1)
            scores[metric] = evaluation.evaluate(
                trained.model,
                stream,
                metric,
                tokens_per_byte=corpus.tokens_per_byte(split),
                context=context,
                stride=stride,
                streams=streams,
                batch_size=batch_size,
                advance=partial(bars.advance, bar),
            )
    settings = {"split": split, "checkpoint": checkpoint, "streams": streams, "context": context, "stride": stride}
    record(found, settings, scores, trained.code)
    show(found, settings, scores)
    return float(scores[metrics[0]]["loss"])


def evaluate_task(run: Run, trained: Any, split: str, checkpoint: str, context: int | None) -> float:
    """Score a generated task's answers, in sequences of ``context`` tokens; ``None``: as long as in that split."""
    from lmlab.training.evaluation import evaluate_answers
    from lmlab.training.preflight import open_source

    config = trained.config
    if context is not None:
        config = config | {"batch": config["batch"] | {"context": context}}
        if split != "validation":
            raise UserError(f"context={context}: give the length of the sequences with split=validation")
    source = open_source(config | {"validation": config["validation"] | {"tokens": None}})
    if split not in source.scored_splits:
        raise UserError(f"split={split}: {run.path.name} has no such split{nearest(split, source.scored_splits)}")
    length = source.length(split)  # type: ignore[attr-defined]
    if trained.model.max_positions is not None and length > trained.model.max_positions:
        raise UserError(f"context={length}: the positions of this model end at {trained.model.max_positions}")
    with Progress(*COLUMNS, console=tables.progress_console, transient=True) as bars:
        bar = bars.add_task(split, total=sum(int((batch.targets >= 0).sum()) for batch in source.batches(split)))
        found = evaluate_answers(trained.model, source.batches(split), partial(bars.advance, bar))
    settings = {"split": split, "checkpoint": checkpoint, "context": length}
    record(run, settings, {"answers": found}, trained.code)
    show(run, settings, {"answers": found})
    return found["loss"]


def record(run: Run, settings: dict[str, Any], scores: dict[str, Any], code: str) -> None:
    """Keep the result with the run, as a line of ``evaluations.jsonl``.

    It replaces an older one with the same settings and the same code; what other code has scored stays beside it.
    """
    path = run.path / "evaluations.jsonl"
    rows = read_jsonl(path)
    others = [row for row in rows if row["settings"] == settings and row.get("code") != code]
    kept = [row for row in rows if row["settings"] != settings or row.get("code") != code]
    write_rows(path, [*kept, {"settings": settings, "metrics": scores, "code": code, "time": now()}])
    if others:
        tables.say(f"{len(others)} with the same settings by other code; it is kept", "Earlier evaluations:", "yellow")


def show(run: Run, settings: dict[str, Any], found: dict[str, dict[str, float]]) -> None:
    """Print one row per way of scoring."""
    rows = []
    for metric, values in found.items():
        known = results.METRICS.items()
        scores = {heading: written(values[name], form) for name, (heading, form) in known if name in values}
        rows.append({"scored by": metric, "tokens": f"{values['tokens']:,}", **scores})
    title = f"{run.path.name}: {settings['split']} split, context {settings['context']}"
    tables.print_table(title, rows, optional=["tokens", "calibration error", "accuracy"])
    if "stride" in settings:
        tables.say(f"sliding_window moves by {settings['stride']}; stateful reads {settings['streams']} streams.")
    tables.say(f"Recorded in {run.path / 'evaluations.jsonl'}")
