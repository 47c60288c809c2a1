"""Texts of the models: answers to tasks with metrics and examples, and samples side by side."""

import math
from collections.abc import Mapping, Sequence

from lmlab.analysis.answers import Evaluation, Scored, Side, evaluations, side_by_side
from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import of_those_shown, shown
from lmlab.analysis.report.content.results import NOTE, interval
from lmlab.analysis.report.document import Cell, Column, Interval, Part, Section, SideBySide, Table, Text
from lmlab.analysis.statistics.intervals import mean_interval
from lmlab.runs.files import read_jsonl
from lmlab.surroundings import printable

SHOWN = 5
"""Number of examples in a table."""

LONGEST = 300
"""Characters of a text in a cell; of an input, the last ones."""

_TRIVIAL = "Below the arms: answers that need no model, scored on the same examples. "

Arms = Mapping[str, Sequence[Evaluation]]


def answers(comparison: Comparison) -> Section | None:
    """Show the arms' scores on tasks that ``lmlab evaluate`` scored them on, and their answers."""
    parts: list[Part] = []
    for number, (scored, by_arm) in enumerate(evaluations(comparison).items(), 1):
        parts += _parts(comparison, number, scored, by_arm)
    return Section("Answers to tasks", parts) if parts else None


def _parts(comparison: Comparison, number: int, scored: Scored, by_arm: Arms) -> list[Part]:
    parts: list[Part] = [_scores(number, scored, by_arm)]
    first = next(iter(by_arm.values()))[0]
    primary = next((name for name in first.measures.metrics if name in first.about["intervals"]), "")
    sides = side_by_side(by_arm, primary)
    if not sides:
        return parts
    parts.append(_examples(f"examples-{number}", f"The first examples of {scored}", sides[:SHOWN]))
    apart = sorted((side for side in sides if side.differ), key=lambda side: -side.spread)
    if apart:
        metric = first.measures.metrics[primary].heading if primary else "their scores"
        text = f"The arms' answers differ in {len(apart):,} of {len(sides):,} examples of {scored}."
        parts.append(Text(text))
        title = f"Examples of {scored} on which the arms differ most, by {metric} of the single answer"
        parts.append(_examples(f"differing-{number}", title, apart[:SHOWN], primary))
    elif len(by_arm) > 1:
        parts.append(Text(f"All arms give the same answers to the {len(sides):,} examples of {scored}."))
    return parts


def _scores(number: int, scored: Scored, by_arm: Arms) -> Table:
    """Return the table of metrics: over seeds, and over examples."""
    every = [evaluation for each in by_arm.values() for evaluation in each]
    metrics = {
        name: metric
        for evaluation in every
        for name, metric in evaluation.measures.metrics.items()
        if name in evaluation.about["intervals"]
    }
    columns = [Column("arm"), Column("runs")]
    for metric in metrics.values():
        columns += [
            Column(metric.heading, metric.unit, metric.form, metric.better),
            Column(f"{metric.heading}, over examples", metric.unit, metric.form),
        ]
    columns += [Column("examples"), Column("seen in training"), Column("answers seen in training")]
    rows: list[list[Cell | Interval]] = []
    for arm, each in by_arm.items():
        row: list[Cell | Interval] = [arm, len(each)]
        for name in metrics:
            values = [one.metrics[name] for one in each if name in one.metrics]
            row += [interval(mean_interval(values)) if values else None, _over_examples(each, name)]
        overlaps = [one.about["overlap"] for one in each]
        seen = max((overlap["equal"] for overlap in overlaps if "equal" in overlap), default=None)
        contained = max((overlap["answers"] for overlap in overlaps if "answers" in overlap), default=None)
        rows.append([*row, each[0].about["examples"], seen, contained])
    trivial = every[0].row.get("baselines", {})
    for name, scores in trivial.items():
        cells = [cell for metric in metrics for cell in (scores.get(metric), None)]
        rows.append([name, None, *cells, every[0].about["examples"], None, None])
    rules = {f"Decoding: {one.about['decoding']}." for one in every if one.about["decoding"]}
    for evaluation in every:
        signatures = evaluation.about["signatures"].items()
        rules |= {f"{metrics[name].heading if name in metrics else name}: {rule}." for name, rule in signatures}
    note = (
        f"{NOTE} Over examples: the mean of the runs, between the means of the bounds of their 95 % bootstrap "
        "intervals. Seen in training: examples equal to one of the training text. Answers seen in training: right "
        f"answers of 8 words or more that occur there. {_TRIVIAL * bool(trivial)}{' '.join(sorted(rules))}"
    )
    return Table(f"answers-{number}", f"Scores on {scored}", columns, rows, note)


def _over_examples(each: Sequence[Evaluation], name: str) -> Interval | None:
    """Return the mean of a metric of several runs, and the means of the bounds of its intervals over examples."""
    bounds = [one.about["intervals"][name] for one in each if name in one.about["intervals"]]
    values = [one.metrics[name] for one in each if name in one.about["intervals"]]
    if not values or any(math.isnan(bound) for pair in bounds for bound in pair):
        return None
    low, high = (sum(pair[end] for pair in bounds) / len(bounds) for end in (0, 1))
    return Interval(sum(values) / len(values), low, high)


def _examples(name: str, title: str, sides: Sequence[Side], metric: str = "") -> Table:
    arms = list(sides[0].predictions)
    columns = [Column("input"), Column("right answer"), *map(Column, arms)]
    rows: list[list[Cell | Interval]] = []
    for side in sides:
        first = side.predictions[arms[0]]
        predictions = []
        for row in side.predictions.values():
            score = f" ({float(row[metric]):.4g})" if metric in row else ""
            predictions.append(f"{_clipped(str(row['prediction'])) or '(nothing)'}{score}")
        right = " / ".join(map(str, first["references"]))
        rows.append([_clipped(str(first["input"]), last=True), _clipped(right), *predictions])
    return Table(name, title, columns, rows, "By the first run of each arm.")


def _clipped(text: str, last: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    return f"... {text[-LONGEST:]}" if last else f"{text[:LONGEST]} ..."


def samples(comparison: Comparison) -> Section | None:
    """Show the newest text of each arm's first run that has one; generated tasks have none to read."""
    texts = {}
    for arm in shown(comparison):
        texts_of_arm = ((run, text) for run in arm.runs if not run.is_task and (text := _newest(run)))
        if first := next(texts_of_arm, None):
            run, text = first
            heading = arm.name if arm.name == run.label else f"{arm.name} (seed {run.seed}, {run.label})"
            texts[heading] = text
    if not texts:
        return None
    note = "The last sample of the first seed of each arm, not hand-picked; one text says little about a model."
    return Section("Samples", [Text(note + of_those_shown(comparison)), SideBySide(texts)])


def _newest(run: Record) -> str | None:
    try:
        rows = read_jsonl(run.run.samples)
    except ValueError:
        return None
    return printable(str(rows[-1]["text"])) if rows else None
