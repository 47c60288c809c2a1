"""The arms side by side: results with intervals, further metrics, sizes and costs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.contrasts import (
    Contrast,
    all_pairs,
    contrasts,
    correction,
    number_format,
    tests_counted,
    unbeaten,
)
from lmlab.analysis.report.content.ranking import minimizes, ranked
from lmlab.analysis.report.document import Cell, Column, Interval, Section, Table
from lmlab.analysis.statistics.intervals import Estimate, bootstrap_interval, mean_interval
from lmlab.runs.files import numbers, read_jsonl
from lmlab.runs.metrics import split_of

Row = list[Cell | Interval]


def training_flops(run: Record) -> float | None:
    """Operations of a whole training: as measured, or those of a token times the tokens; ``None``: not known."""
    tokens, each = run.metric("timings/tokens"), run.flops_per_token
    measured = run.metric("timings/flops")
    return measured if measured is not None or tokens is None or each != each else tokens * each


@dataclass(frozen=True)
class Cost:
    """What a run takes: its column and how it is found; ``None`` where a run does not have it."""

    column: Column
    of: Callable[[Record], float | None]


def _recorded(name: str, heading: str, unit: str = "", form: str = "{:,.0f}", scale: float = 1.0) -> Cost:
    def of(run: Record) -> float | None:
        value = run.metric(name)
        return None if value is None else value / scale

    return Cost(Column(heading, unit, form), of)


SIZES = (
    _recorded("sizes/parameters/total", "parameters"),
    _recorded("sizes/parameters/non_embedding", "non-embedding parameters"),
    _recorded("sizes/parameters/matmul", "matmul parameters"),
    _recorded("sizes/state_bytes_per_sequence", "state of a sequence", "B"),
    _recorded("sizes/flops_per_token", "forward pass of a token", "FLOP"),
)
COSTS = (
    _recorded("timings/tokens", "tokens"),
    Cost(Column("training", "FLOP", "{:.3e}"), training_flops),
    _recorded("timings/seconds", "time", "s", "{:,.1f}"),
    _recorded("timings/tokens_per_second", "training speed", "tokens/s"),
    _recorded("timings/utilisation", "model FLOPs utilisation", form="{:.1%}"),
    _recorded("timings/peak_memory_bytes", "peak memory", "MiB", "{:,.1f}", 2**20),
    _recorded("timings/joules", "energy", "J"),
    _recorded("generation/tokens_per_second", "generation speed", "tokens/s"),
    _recorded("generation/state_bytes", "state after generation", "B"),
)


def arms(comparison: Comparison) -> Section | None:
    """Results with intervals and tests; what the same runs score otherwise, how large they are, what they cost."""
    if not comparison.arms:
        return None
    tables = [
        _results(comparison),
        _pairs(comparison),
        _metrics(comparison),
        _evaluations(comparison),
        _measured(comparison, "sizes", "Sizes", SIZES),
        _measured(comparison, "costs", "Costs of a run", COSTS),
    ]
    return Section("The arms", [table for table in tables if table is not None])


def interval(estimate: Estimate) -> Interval | float:
    """A cell of a table: a number with its interval, or without one where there is none."""
    if estimate.low != estimate.low:
        return estimate.mean
    return Interval(estimate.mean, estimate.low, estimate.high)


def _results(comparison: Comparison) -> Table:
    label, found = comparison.label, contrasts(comparison)
    title = f"Results on the {split_of(comparison.metric)} split, {label}"
    form = number_format(found)
    best = unbeaten(comparison)
    by_arm = {id(one.arm): one for one in found}
    rows: list[Row] = []
    for arm in comparison.arms:
        scores = list(arm.chosen.scores(comparison.metric).values())
        estimate = mean_interval(scores)
        row: Row = [arm.name, estimate.n, interval(estimate)]
        row += [interval(bootstrap_interval(scores)), estimate.sd] if estimate.n > 1 else [None, None]
        if (one := by_arm.get(id(arm))) is None:
            rows.append([*row, None, None, None, None, None])
            continue
        rows.append([*row, *_difference(one)])
    columns = [
        Column("arm"),
        Column("n"),
        Column(label, form=form, better="lower" if minimizes(comparison) else "higher", best=best),
        Column("bootstrap interval (BCa)", form=form),
        Column("standard deviation", form=form),
    ]
    note = f"{_NOTE} {_BOOTSTRAP}"
    if not found:
        return Table("results", title, columns, [row[:5] for row in rows], note)
    baseline = comparison.arms[0].name
    columns += _difference_columns(comparison, f"difference to {baseline}", form)
    note = f"{note}{_BOLD if best else ''} {_tests_note(comparison)}"
    return Table("results", title, columns, rows, note)


def _pairs(comparison: Comparison) -> Table | None:
    """Every arm held against every other, better arms first; ``None`` where the results show the only pair."""
    pairs = all_pairs(comparison)
    if len(pairs) < 2:
        return None
    form = number_format(pairs)
    place = {id(arm): number for number, arm in enumerate(ranked(comparison))}
    facing = [one if place[id(one.arm)] < place[id(one.reference)] else one.turned() for one in pairs]
    facing.sort(key=lambda one: (place[id(one.arm)], place[id(one.reference)]))
    rows: list[Row] = [
        [one.arm.name, one.reference.name, "yes" if one.told_apart else "no", one.paired.n, *_difference(one)]
        for one in facing
    ]
    columns = [Column("arm"), Column("against"), Column("told apart"), Column("n")]
    columns += _difference_columns(comparison, "difference", form)
    note = f"The arm with the better mean stands first. {_tests_note(comparison)}"
    return Table("pairs", f"All pairs of arms, {comparison.heading}", columns, rows, note)


def _difference(one: Contrast) -> Row:
    test = one.paired
    tested = test.p_value == test.p_value
    effect = interval(test.effect_size) if tested else None
    shown = [test.p_value, test.permutation_p_value, effect] if tested else [None, None, None]
    return [interval(test.difference), *shown, test.test]


def _difference_columns(comparison: Comparison, heading: str, form: str) -> list[Column]:
    """The columns of :func:`_difference`."""
    corrected = f", {name}" if (name := correction(comparison)) else ""
    return [
        Column(heading, form=form),
        Column(f"p (t test{corrected})", form="{:.2g}"),
        Column(f"p (sign flips{corrected})", form="{:.2g}"),
        Column("effect size (Hedges' g)", form="{:.2f}"),
        Column("test"),
    ]


def _tests_note(comparison: Comparison) -> str:
    note = "Differences are over the seeds that both arms have; p values are two-sided, the second of the exact"
    note += " permutation test."
    number = tests_counted(comparison)
    if number < 2:
        return note
    return (
        f"{note} All p values, and the intervals of differences and effects, are corrected for the {number} pairs of "
        "arms that can be tested (Bonferroni; Dunn 1961): together the intervals cover with 95 %, and one excludes "
        "zero exactly where the p value of its t test is below 0.05."
    )


_NOTE = "Mean over seeds with its 95 % interval (Student's t); a seed is one run."
_BOLD = " Bold: the best mean, and those that cannot be told apart from it."
_BOOTSTRAP = (
    "The bootstrap interval assumes no distribution, but is too narrow for few seeds: of 3 it covers 71 %, of 5 85 %."
)


def _metrics(comparison: Comparison) -> Table | None:
    """Every other final metric that was recorded."""
    runs = comparison.runs
    names = dict.fromkeys(name for run in runs for name in run.manifest["metrics"] if name != comparison.metric)
    if not names:
        return None
    rows = [[arm.name, *(_mean(arm.chosen.runs, partial(_metric, name)) for name in names)] for arm in comparison.arms]
    columns = [Column("arm"), *(Column(name, form="{:.4f}") for name in names)]
    return Table("metrics", "Other final metrics", columns, rows, _NOTE)


def _metric(name: str, run: Record) -> float | None:
    return run.metric(name)


def _evaluations(comparison: Comparison) -> Table | None:
    """What ``lmlab evaluate`` recorded: each way of scoring is a metric of its own."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for arm in comparison.arms:
        for run in arm.chosen.runs:
            try:
                evaluations = numbers(read_jsonl(run.run.path / "evaluations.jsonl"))
            except ValueError:
                continue
            # Of one run scored by several versions of the code, the newest counts.
            for settings, row in {_described(row["settings"]): row for row in evaluations}.items():
                for way, found in row["metrics"].items():
                    value = found.get("bits_per_byte", found.get("accuracy"))
                    unit = "bits/byte" if "bits_per_byte" in found else "accuracy"
                    scores[f"{way.replace('_', ' ')}, {unit}", settings][arm.name].append(float(value))
    if not scores:
        return None
    columns = [Column("scored by"), Column("settings"), *(Column(arm.name, form="{:.4f}") for arm in comparison.arms)]
    rows = [
        [way, settings, *(interval(mean_interval(by[arm.name])) if by[arm.name] else None for arm in comparison.arms)]
        for (way, settings), by in sorted(scores.items())
    ]
    return Table("evaluations", "Evaluations", columns, rows, f"{_NOTE} Ways of scoring are different metrics.")


def _described(settings: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _measured(comparison: Comparison, name: str, title: str, costs: Sequence[Cost]) -> Table | None:
    measured = [[_mean(arm.chosen.runs, cost.of) for cost in costs] for arm in comparison.arms]
    kept = [i for i in range(len(costs)) if any(row[i] is not None for row in measured)]
    if not kept:
        return None
    columns = [Column("arm"), *(costs[i].column for i in kept)]
    rows = [[arm.name, *(row[i] for i in kept)] for arm, row in zip(comparison.arms, measured, strict=True)]
    return Table(name, title, columns, rows, f"{_NOTE} Where all seeds agree, one number.")


def _mean(runs: Sequence[Record], of: Callable[[Record], float | None]) -> Cell | Interval:
    """The mean of those runs that have it, with its interval where they differ."""
    values = [value for run in runs if (value := of(run)) is not None]
    if not values:
        return None
    return values[0] if len(set(values)) == 1 else interval(mean_interval(values))
