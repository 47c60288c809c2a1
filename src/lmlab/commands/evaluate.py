"""``lmlab evaluate``: score a run's model on a split in up to three ways, every token exactly once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lmlab.commands import tables
from lmlab.commands.answers import Answers, metrics_of, show_answers
from lmlab.commands.prompts import output_file
from lmlab.config.check import check_arguments
from lmlab.config.experiment import Experiment, Folders
from lmlab.config.nodes import Paths
from lmlab.errors import UserError
from lmlab.metrics import score_of
from lmlab.numerals import written
from lmlab.runs.files import dumps, read_jsonl, write_rows, write_text
from lmlab.runs.lookup import find
from lmlab.runs.moved import config_here
from lmlab.runs.run import Run, now
from lmlab.surroundings import expanded
from lmlab.training.threads import check_threads, use_threads

if TYPE_CHECKING:
    from lmlab.data.shards import TokenizedCorpus
    from lmlab.data.tasks import Task
    from lmlab.data.tokenizers import Tokenizer
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
) -> float:
    """Print and record the metrics, and return the first metric of the first way of scoring."""
    check_threads(threads)
    source = find(run, Folders.of(paths).runs)
    if prompts is not None:
        for option, value in (("split", split), ("data.paths", data.get("paths"))):
            if value is not None:
                raise UserError(f"{option}={value}: cannot be combined with prompts={prompts}; leave one of them out")
        load = partial(_load, source, checkpoint, average, accelerator, threads, trust)
        return score_answers(source, load, prompts, output, context, batch_size)
    if output is not None:
        raise UserError(f"output={output}: is for the answers that prompts=... names; leave it out")
    text = text_options(data, split, is_task(source))
    settings, scores, about = score(
        source,
        paths,
        split or "validation",
        text,
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
    )
    show(source, settings, scores)
    if text is not None:
        say_text(about["text"])
    return float(next(iter(next(iter(scores.values())).values())))


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


def is_task(run: Run) -> bool:
    """Return whether a run was trained on a generated task."""
    return bool(run.manifest.get("data", {}).get("licence") == "generated")


def score(
    run: Run,
    paths: Paths,
    split: str,
    text: dict[str, Any] | None = None,
    *,
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
) -> tuple[dict[str, Any], dict[str, dict[str, float]], dict[str, Any]]:
    """Score a run on a split or on a text, and record the result with the run.

    The defaults are those of a validation.

    Returns:
        The settings, the scores by way of scoring, and the other recorded facts.

    Raises:
        UserError: the run has no such split or weights, its data have changed, or an option is wrong.
    """
    from lmlab.data.tasks import ScoredText, Task
    from lmlab.data.windows import Reading
    from lmlab.training.scoring import evaluate

    trained = _load(run, checkpoint, average, accelerator, threads, trust)
    about: dict[str, Any] = {}
    task: Task | ScoredText
    if text is None:
        recorded = open_recorded(run, paths)
        check_same_data(run, recorded)
        task = recorded.for_evaluation(split, context)
    else:
        corpus = prepared_text(text, trained.tokenizer, paths)
        chosen = {key: value for key, value in text.items() if value is not None}
        about = {"text": {**chosen, **described(corpus)}}
        task, split = ScoredText(corpus, trained.context), "text"
    length = task.length(split) if context is None else context
    reading = Reading(length, max(1, length // 2) if stride is None else stride, streams, batch_size)
    reading.check(metrics, trained.model.max_positions)
    scores = {}
    with _bars() as bars:
        for name, batches in task.evaluation(split, metrics, reading).items():
            bar = bars.add_task(f"{run.path.name}: {name}", total=task.scored(split))
            scores[name] = evaluate(trained.model, batches, task.judges(split), length, partial(bars.advance, bar))
    if about:  # a split name of its own, so that different texts never share a column
        split = f"text {about['text']['fingerprint'][:12]}"
    options = {key: getattr(reading, key) for key in task.reading_options}
    settings = {"split": split, "checkpoint": trained.checkpoint, **options}
    record(run, settings, scores, trained.code, **about)
    return settings, scores, about


def text_options(data: dict[str, Any], split: str | None, is_task: bool) -> dict[str, Any] | None:
    """Return the section ``data`` with absolute paths to the text that is scored instead of a split; ``None`` without.

    Raises:
        UserError: another option cannot be combined with it.
    """
    check_arguments(_data, data, "data.", name="lmlab evaluate")
    paths, others = data.get("paths"), {key: data.get(key) for key in ("documents", "field")}
    if paths is None:
        for key, value in others.items():
            if value is not None:
                raise UserError(f"data.{key}={value}: is for the text that data.paths names; leave it out")
        return None
    if split is not None:
        raise UserError(f"split={split}: data.paths is scored as a whole; leave one of them out")
    if is_task:
        raise UserError("data.paths: this run was trained on a generated task; its splits are validation and longer")
    texts = [path and str(expanded(path).absolute()) for path in ([paths] if isinstance(paths, str) else paths)]
    return data | {"paths": texts}


def _data(
    paths: list[str] | str | None = None,
    documents: Literal["file", "line", "record"] | None = None,
    field: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
) -> None:
    """Declare the options of the section ``data``."""


def open_recorded(run: Run, paths: Paths) -> "Task":
    """Open the prepared tokens of a run's data, or prepare its text again; nothing is downloaded.

    Raises:
        UserError: neither exists.
    """
    from lmlab.training.preflight import open_task

    try:
        config = config_here(run)
        whole = Experiment.of(config | {"paths": paths, "validation": config["validation"] | {"tokens": None}})
        return open_task(whole, progress=True, run=run, download=False)
    except UserError as error:
        fingerprint = run.manifest["data"]["fingerprint"][:12]
        raise UserError(
            f"run={run.id}: its tokens (fingerprint {fingerprint}) are not in {paths['cache']} any more and cannot be "
            f"prepared again: {error}"
        ) from error


def check_same_data(run: Run, task: "Task") -> None:
    """Refuse to score data that differ from the run's own. Raises ``UserError``."""
    recorded = run.manifest["data"]["fingerprint"]
    if task.fingerprint != recorded:
        raise UserError(
            f"run={run.id}: its data have changed (fingerprint {recorded[:12]} then, {task.fingerprint[:12]} now), "
            "so a score would not be comparable"
        )


def prepared_text(text: dict[str, Any], tokenizer: "Tokenizer", places: Paths) -> "TokenizedCorpus":
    """Return the text of a section ``data`` as one split, ``text``, tokenised by a run's tokenizer."""
    from lmlab.data.corpora import WholeText
    from lmlab.data.preparation import prepare

    corpus = prepare(WholeText(**text), tokenizer, Folders.of(places).cache)
    for note in corpus.notes:
        tables.say(note)
    return corpus


def described(corpus: "TokenizedCorpus") -> dict[str, Any]:
    """Return the fingerprint of a prepared text, and its sizes."""
    recorded = corpus.describe()
    return {"fingerprint": recorded["corpus_fingerprint"], **recorded["splits"]["text"]}


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
    path = run.path / "evaluations.jsonl"
    rows = read_jsonl(path)
    others = [row for row in rows if row["settings"] == settings and row.get("code") != code]
    kept = [row for row in rows if row["settings"] != settings or row.get("code") != code]
    write_rows(path, [*kept, {"settings": settings, "metrics": scores, "code": code, **about, "time": now()}])
    if others:
        tables.say(f"{len(others)} with the same settings by other code; it is kept", "Earlier evaluations:", "yellow")


def show(run: Run, settings: dict[str, Any], found: dict[str, dict[str, float]]) -> None:
    """Print one row per way of scoring."""
    rows, measures = [], run.measures
    for metric, values in found.items():
        scores = {
            one.heading: written(values[one.name], one.form) for one in measures.metrics.values() if one.name in values
        }
        rows.append({"scored by": metric, "tokens": f"{values['tokens']:,}", **scores})
    split = settings["split"] if settings["split"].startswith("text ") else f"{settings['split']} split"
    shown = {score_of(name) for name in measures.shown}
    further = [one.heading for one in measures.metrics.values() if one.name not in shown]
    title = f"{run.path.name}: {split}, context {settings['context']}{_of_weights(settings['checkpoint'])}"
    tables.print_table(title, rows, ["tokens", *further])
    if "stride" in settings:
        tables.say(f"sliding_window moves by {settings['stride']}; stateful reads {settings['streams']} streams.")
    tables.say(f"Recorded in {tables.place(run.path / 'evaluations.jsonl')}")


def _of_weights(checkpoint: str) -> str:
    """Return the part of a title that names the scored weights; empty for the final ones."""
    weights = {"final": "", "best": ", best weights", "ema": ", averaged weights (EMA)"}
    return weights.get(checkpoint, f", weights: {checkpoint}")
