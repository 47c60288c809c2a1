"""``lmlab evaluate``: score a run's model on its own data, on any text, or on another task or corpus."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lmlab.commands import tables
from lmlab.commands.answers import Answers, metrics_of, show_answers
from lmlab.commands.app import typed_words
from lmlab.commands.predictions import file_of, overlap_with_training, rows_of, say_overlap, write
from lmlab.commands.prompts import output_file
from lmlab.commands.scored_data import check_data, open_data, splits_of, training_tasks, without_options_of_text
from lmlab.commands.templates import refuse_tokenizer
from lmlab.commands.wandb import mirror_evaluations
from lmlab.config.experiment import Folders
from lmlab.config.nodes import Config, Paths
from lmlab.config.overrides import written as typed
from lmlab.errors import UserError
from lmlab.metrics import Measures, Metric, score_of
from lmlab.models.decoding_options import Settings, with_values
from lmlab.numerals import written
from lmlab.runs.files import dumps, read_jsonl, write_rows, write_text
from lmlab.runs.lookup import find
from lmlab.runs.run import Run, now
from lmlab.surroundings import expanded
from lmlab.training.threads import check_threads, use_threads

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.training.load import Trained

COLUMNS = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


def main(
    paths: Paths,
    run: str | None,
    data: dict[str, Any],
    split: str | None,
    prompts: str | None,
    output: str | None,
    checkpoint: str,
    average: int | None,
    metrics: list[str],
    context: int | None,
    stride: int | None,
    streams: int,
    batch_size: int,
    accelerator: str,
    threads: int | None,
    trust: bool = False,
    shots: int = 0,
    tokenizer: dict[str, Any] | None = None,
    length: int | None = None,
    greedy: bool | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    repetition_penalty: float | None = None,
    stop: str | list[str] | None = None,
    extract: bool | None = None,
    documents: Literal["packed", "separate"] | None = None,
) -> float:
    """Print and record the metrics, and return the first metric of the first way of scoring."""
    check_threads(threads)
    decoding = with_values(
        length=length,
        greedy=greedy,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        beams=beams,
        length_penalty=length_penalty,
        repetition_penalty=repetition_penalty,
        stop=stop,
        extract=extract,
    )
    source, data = find(run, Folders.of(paths).runs), without_options_of_text(data)
    refuse_tokenizer()
    if prompts is not None:
        named = next((word for word in typed_words() if word.startswith("data=")), "data") if "_target_" in data else ""
        others = {"split": split, "data.paths": data.get("paths"), "shots": shots or None, **decoding}
        others["documents"] = documents
        for option in [named, *(f"{name}={typed(value)}" for name, value in others.items() if value is not None)]:
            if option:
                raise UserError(f"{option}: cannot be combined with prompts={prompts}; leave one of them out")
        load = partial(_load, source, checkpoint, average, accelerator, threads, trust)
        return score_answers(source, load, prompts, output, context, batch_size)
    splits = splits_of(source, data, split, "decoding" if decoding else "metrics" if shots else None)
    if output is not None and len(splits) > 1:
        raise UserError(f"output={output}: is for one data set; choose one of several by split={splits[0]}")
    values: list[float] = []
    for each in splits:
        settings, scores, about = score(
            source,
            paths,
            each,
            data,
            shots=shots,
            decoding=decoding,
            output=output_file(output, None, data=data.get("paths")),
            checkpoint=checkpoint,
            average=average,
            metrics=metrics,
            context=context,
            stride=stride,
            streams=streams,
            batch_size=batch_size,
            accelerator=accelerator,
            threads=threads,
            trust=trust,
            documents=documents,
        )
        show(source, settings, scores, about)
        if "predictions" in about:
            mirror_evaluations(source)
        values.append(float(next(iter(next(iter(scores.values())).values()))))
    return values[0]


def score_answers(
    run: Run, load: Callable[[], "Trained"], prompts: str, output: str | None, context: int | None, batch_size: int
) -> float:
    """Score the answers in a file of prompts, print and record the metrics; return the loss in nats per token.

    Args:
        load: returns the model.
        output: a file for a record of each answer, or ``None``.

    Raises:
        UserError: an option or a record is wrong.
    """
    for option, value in (("context", context), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise UserError(f"{option}={value}: expected at least 1")
    answers, file = Answers.read(prompts), output_file(output, prompts)
    trained = load()
    last = trained.model.max_positions
    if context is not None and last is not None and context > last:
        raise UserError(f"context={context}: the positions of this model end at {last}")
    context = trained.context if context is None else context
    scored = answers.score(trained, context, batch_size)
    metrics = metrics_of(scored)
    show_answers(f"{run.path.name}: {prompts}, context {context}{_of_weights(trained.checkpoint)}", metrics)
    settings = {"split": f"answers {answers.fingerprint[:12]}", "checkpoint": trained.checkpoint, "context": context}
    about = {"path": str(expanded(prompts).absolute()), "fingerprint": answers.fingerprint}
    record(run, settings, {"answers": metrics}, trained.code, answers=about)
    if file is not None:
        write_text(file, "".join(dumps(row) + "\n" for row in answers.records(scored, run.id)))
        tables.say(f"A record for each answer is in {tables.place(file)}")
    tables.say(f"Recorded in {tables.place(run.path / 'evaluations.jsonl')}")
    return metrics["loss"]


def _load(
    run: Run, checkpoint: str, average: int | None, accelerator: str, threads: int | None, trust: bool
) -> "Trained":
    from lmlab.training.load import load_trained
    from lmlab.training.trainer import device_kind

    use_threads(threads)
    return load_trained(run, checkpoint, device_kind(accelerator), trust, average)


def score(
    run: Run,
    paths: Paths,
    split: str | None = None,
    data: Config | None = None,
    *,
    shots: int = 0,
    decoding: Settings | None = None,
    output: Path | None = None,
    checkpoint: str = "final",
    average: int | None = None,
    metrics: Sequence[str] = ("fixed_window",),
    context: int | None = None,
    stride: int | None = None,
    streams: int = 8,
    batch_size: int = 16,
    accelerator: str = "auto",
    threads: int | None = None,
    trust: bool = False,
    documents: Literal["packed", "separate"] | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, float]], dict[str, Any]]:
    """Score a run on a split of its data or of others, and record the result and the generated answers with the run.

    The defaults are those of a validation.

    Args:
        split: ``None``: the first that a validation scores.
        data: a section ``data``: another data set, or the options of a text to be scored as a whole; ``None``: the
            run's own data.
        shots: number of training examples before every prompt.
        decoding: settings of decoding in place of those of the task.
        output: a file for the generated answers; ``None``: one in the run directory.
        documents: read the documents of a text as one stream, or each by itself; ``None``: as in training.

    Returns:
        The settings, the scores by way of scoring, and the other recorded facts.

    Raises:
        UserError: there is no such split or weights, data are missing or have changed, or an option is wrong.
    """
    from lmlab.data.tasks import Task
    from lmlab.data.windows import Reading
    from lmlab.training.scoring import evaluate

    for option, value, least in (("shots", shots, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise UserError(f"{option}={value}: expected at least {least}")
    dataset = check_data(data or {}, split, run)
    trained = _load(run, checkpoint, average, accelerator, threads, trust)
    scored = open_data(dataset, trained, paths, split, context, shots, batch_size, decoding, documents)
    task, split = scored.task, scored.split
    length = task.length(split) if context is None else context
    reading = Reading(length, max(1, length // 2) if stride is None else stride, streams, batch_size)
    reading.check(metrics, trained.model.max_positions)
    options = {key: getattr(reading, key) for key in task.reading_options}
    settings = scored.settings | {"checkpoint": trained.checkpoint, **options}
    if output is not None and not any(_keeps_predictions(judge) for judge in task.judges(split)):
        raise UserError(f"output={output}: is for generated answers, and these data have none; leave it out")
    scores: dict[str, dict[str, float]] = {}
    answered: Judge | None = None
    with _bars() as bars:
        for name, batches in task.evaluation(split, metrics, reading).items():
            judges = task.judges(split)
            answered = next(filter(_keeps_predictions, judges), None)
            bar = bars.add_task(f"{run.path.name}: {name}", total=task.scored(split))
            scores[name] = evaluate(trained.model, batches, judges, length, partial(bars.advance, bar))
    about = dict(scored.about)
    if isinstance(task, Task) and (baselines := task.baselines(split)):
        about["baselines"] = baselines
    if "data" in settings:
        about["measures"] = cast(Task, task).measures().to_record()
    if answered is not None and answered.predictions is not None:
        rows = rows_of(cast(Task, task), split, answered)
        path = output or file_of(run, about["data"]["name"], settings, trained.code)
        write(path, rows)
        about["predictions"] = {
            "file": str(path.absolute() if output else path.relative_to(run.path)),
            "examples": len(rows),
            "decoding": answered.decoding,
            "signatures": answered.signatures,
            "intervals": answered.intervals(),
            "overlap": {"unknown": "the search of the training text was interrupted"},
        }
        record(run, settings, scores, trained.code, **about)  # the search may take minutes
        about["predictions"]["overlap"] = overlap_with_training(rows, partial(training_tasks, run, paths))
    record(run, settings, scores, trained.code, **about)
    return settings, scores, about


def _keeps_predictions(judge: "Judge") -> bool:
    """Make a judge keep its predictions; return whether it has any."""
    judge.keep_predictions()
    return judge.predictions is not None


def say_text(text: dict[str, Any]) -> None:
    """Print which text was scored, and the share of tokens that are unknown to the tokenizer."""
    names = ", ".join(text["paths"])
    tables.say(f"{names}: {text['bytes']:,} bytes, {text['tokens']:,} tokens (fingerprint {text['fingerprint'][:12]})")
    if text["unknown"]:
        tables.say(
            f"{text['unknown']:,} of the tokens ({text['unknown'] / text['tokens']:.2%}) are unknown to the run's "
            "tokenizer; one costs less than the text behind it, so bits per byte are too low.",
            "Unknown:",
            "yellow",
        )


def _bars() -> Progress:
    """Return progress bars that are erased at the end; without a terminal, nothing is shown."""
    console = tables.progress_console
    return Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal)


def record(run: Run, settings: dict[str, Any], scores: dict[str, Any], code: str, **about: Any) -> None:
    """Record a result as a line of the run's ``evaluations.jsonl``.

    It replaces an earlier line with the same settings and code. Results of other code are kept.

    Args:
        about: other fields of the line.
    """
    from filelock import FileLock

    path = run.path / "evaluations.jsonl"
    with FileLock(run.path / ".evaluations.lock"):  # several commands may score a run at once
        rows = read_jsonl(path)
        others = [row for row in rows if row["settings"] == settings and row.get("code") != code]
        kept = [row for row in rows if row["settings"] != settings or row.get("code") != code]
        write_rows(path, [*kept, {"settings": settings, "metrics": scores, "code": code, **about, "time": now()}])
    if others and len(kept) == len(rows):
        tables.say(f"{len(others)} with the same settings by other code; it is kept", "Earlier evaluations:", "yellow")


def show(
    run: Run, settings: dict[str, Any], scores: dict[str, dict[str, float]], about: dict[str, Any] | None = None
) -> None:
    """Print one row per way of scoring, and what was recorded besides."""
    about = about or {}
    predictions = about.get("predictions", {})
    rows, measures = [], Measures.of(about["measures"]) if "measures" in about else run.measures
    for way, values in scores.items():
        columns = {
            one.heading: written(values[one.name], one.form)
            + _bounds(predictions.get("intervals", {}).get(one.name), one)
            for one in measures.metrics.values()
            if one.name in values
        }
        counts = {"examples": f"{predictions['examples']:,}"} if predictions else {}
        rows.append({"scored by": way, **counts, "tokens": f"{values['tokens']:,}", **columns})
    for name, own in about.get("baselines", {}).items():
        columns = {
            one.heading: written(own[one.name], one.form) if one.name in own else ""
            for one in measures.metrics.values()
            if one.heading in rows[0]
        }
        rows.append(dict.fromkeys(rows[0], "") | {"scored by": name} | columns)
    shown = {score_of(name) for name in measures.shown}
    further = [one.heading for one in measures.metrics.values() if one.name not in shown]
    tables.print_table(_title(run, settings), rows, ["tokens", *further])
    ways = {
        "sliding_window": f"moves by {settings.get('stride')}",
        "stateful": f"reads {_streams(settings)}",
    }
    if read := [f"{way} {how}" for way, how in ways.items() if way in scores]:
        tables.say(f"{'; '.join(read)}.")
    if unknown := about.get("data", {}).get("unknown"):
        tables.say(
            f"{unknown:,} tokens of this split are unknown to the run's tokenizer; one costs less than the text behind "
            "it, so bits per byte are too low.",
            "Unknown:",
            "yellow",
        )
    if unspelled := about.get("data", {}).get("unspelled"):
        tables.say(
            f"{unspelled:,} right answers of this split cannot be written with the run's vocabulary; no model with it "
            "gets them wholly right.",
            "Unknown:",
            "yellow",
        )
    if predictions:
        tables.say("half the 95 % interval over examples (bootstrap)", "±:")
        if predictions["decoding"]:
            tables.say(predictions["decoding"], "Decoding:")
        for name, signature in predictions["signatures"].items():
            tables.say(signature, f"{measures.metrics[name].heading}:")
        say_overlap(predictions["overlap"])
        tables.say(tables.place(run.path / predictions["file"]), "Predictions:")
    tables.say(f"Recorded in {tables.place(run.path / 'evaluations.jsonl')}")
    if "text" in about:
        say_text(about["text"])


def _title(run: Run, settings: dict[str, Any]) -> str:
    """Return the title of the table: the data, the split and what else the scores depend on."""
    split = settings["split"] if settings["split"].startswith("text ") else f"{settings['split']} split"
    of_data = f"{settings['data']}, " if "data" in settings else ""
    shots = f", {settings['shots']} shots" if "shots" in settings else ""
    context = f", context {settings['context']}" if "context" in settings else ""
    decoding = f", {settings['decoding']}" if "decoding" in settings else ""
    separate = ", separate documents" if "documents" in settings else ""
    of_weights = _of_weights(settings["checkpoint"])
    return f"{run.path.name}: {of_data}{split}{shots}{decoding}{context}{separate}{of_weights}"


def _streams(settings: dict[str, Any]) -> str:
    return f"{settings['streams']} streams" if "streams" in settings else "every document from its beginning"


def _bounds(interval: list[float] | None, metric: Metric) -> str:
    """Return half the width of an interval, to be appended to a value; empty if there is none."""
    if interval is None or any(bound != bound for bound in interval):
        return ""
    return f" ± {written((interval[1] - interval[0]) / 2, metric.form)}"


def _of_weights(checkpoint: str) -> str:
    """Return the part of a title that names the scored weights; empty for the final ones."""
    weights = {"final": "", "best": ", best weights", "ema": ", averaged weights (EMA)"}
    return weights.get(checkpoint, f", weights: {checkpoint}")
