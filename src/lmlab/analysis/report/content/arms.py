"""The arms side by side: results with intervals, further metrics, sizes and costs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from lmlab.analysis.comparison import Comparison
from lmlab.analysis.doubts import differences_between, held_equal
from lmlab.analysis.options import ABSENT
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.captions import data_of, of_runs
from lmlab.analysis.report.content.results import NOTE, interval, pairs, results, statistics
from lmlab.analysis.report.document import Cell, Column, Interval, Part, Section, Table, Text
from lmlab.analysis.statistics.intervals import mean_interval
from lmlab.config.overrides import written
from lmlab.metrics import Measures, score_of


@dataclass(frozen=True)
class Cost:
    """A cost of a run: its column and its value; ``None`` if a run does not have it."""

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
    Cost(Column("training", "FLOP", "{:.3e}"), attrgetter("training_flops")),
    _recorded("timings/seconds", "time", "s", "{:,.1f}"),
    _recorded("timings/tokens_per_second", "training speed", "tokens/s"),
    _recorded("timings/utilisation", "model FLOPs utilisation", form="{:.1%}"),
    _recorded("timings/peak_memory_bytes", "peak memory", "MiB", "{:,.1f}", 2**20),
    _recorded("timings/joules", "energy", "J"),
    _recorded("generation/tokens_per_second", "generation speed", "tokens/s"),
    _recorded("generation/state_bytes", "state after generation", "B"),
)


def arms(comparison: Comparison) -> Section | None:
    """Show results with intervals and tests, further scores of the same runs, their sizes and costs."""
    if not comparison.arms:
        return None
    tables = [
        results(comparison),
        pairs(comparison),
        statistics(comparison),
        _metrics(comparison),
        _evaluations(comparison),
        _measured(comparison, "sizes", "Sizes of the models", SIZES),
        _measured(comparison, "costs", "Costs of a run", COSTS),
    ]
    return Section("The arms", [table for table in tables if table is not None])


def _metrics(comparison: Comparison) -> Table | None:
    """List every other final metric that was recorded."""
    runs = comparison.runs
    names = dict.fromkeys(name for run in runs for name in run.manifest["metrics"] if name != comparison.metric)
    if not names:
        return None
    rows = [[arm.name, *(_mean(arm.runs, _recorded(name, name).of) for name in names)] for arm in comparison.arms]
    columns = [Column("arm"), *(Column(comparison.measures.heading(name), form="{:.4f}") for name in names)]
    return Table("metrics", f"Other final metrics on {of_runs(comparison)}", columns, rows, NOTE)


def _evaluations(comparison: Comparison) -> Table | None:
    """List the scores that ``lmlab evaluate`` recorded; each way of scoring is a metric of its own."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for arm in comparison.arms:
        for run in arm.runs:
            # Of one run scored by several versions of the code, the newest counts.
            for settings, row in {_described(row["settings"]): row for row in run.evaluations}.items():
                for way, values in row["metrics"].items():
                    measures = Measures.of(row["measures"]) if "measures" in row else run.measures
                    metrics, first = measures.metrics, score_of(measures.primary)
                    if (name := next((name for name in (first, *metrics) if name in values), None)) is not None:
                        way_and_metric = f"{way.replace('_', ' ')}, {metrics[name].heading}"
                        scores[way_and_metric, settings][arm.name].append(float(values[name]))
    if not scores:
        return None
    columns = [Column("scored by"), Column("settings"), *(Column(arm.name, form="{:.4f}") for arm in comparison.arms)]
    rows = [
        [way, settings, *(interval(mean_interval(by[arm.name])) if by[arm.name] else None for arm in comparison.arms)]
        for (way, settings), by in sorted(scores.items())
    ]
    return Table(
        "evaluations",
        f"Evaluations by lmlab evaluate on {of_runs(comparison)}",
        columns,
        rows,
        f"{NOTE} Ways of scoring are different metrics.",
    )


def _described(settings: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _measured(comparison: Comparison, name: str, title: str, costs: Sequence[Cost]) -> Table | None:
    measured = [[_mean(arm.runs, cost.of) for cost in costs] for arm in comparison.arms]
    kept = [i for i in range(len(costs)) if any(row[i] is not None for row in measured)]
    if not kept:
        return None
    columns = [Column("arm"), *(costs[i].column for i in kept)]
    rows = [[arm.name, *(row[i] for i in kept)] for arm, row in zip(comparison.arms, measured, strict=True)]
    return Table(
        name, f"{title}, on {of_runs(comparison)}", columns, rows, f"{NOTE} Where all seeds agree, one number."
    )


def _mean(runs: Sequence[Record], of: Callable[[Record], float | None]) -> Cell | Interval:
    """Return the mean of the runs that have a value, with its interval if they differ."""
    values = [value for run in runs if (value := of(run)) is not None]
    if not values:
        return None
    return values[0] if len(set(values)) == 1 else interval(mean_interval(values))


def differences(comparison: Comparison) -> Section | None:
    """List the properties that all arms share, and every option in which their chosen settings differ."""
    if len(comparison.arms) < 2:
        return None
    names = [arm.name for arm in comparison.arms]
    parts: list[Part] = []
    if equal := held_equal(comparison):
        rows = [[name, value] for name, value in equal.items()]
        parts.append(
            Table(
                "equal", f"Properties held equal, on {data_of(comparison)}", [Column("property"), Column("value")], rows
            )
        )
    else:
        parts.append(Text("Nothing was held equal."))
    differing = differences_between(comparison)
    if differing:
        values_of = [[option, *(written(values[name]) for name in names)] for option, values in differing]
        note = (
            f"Seeds and options that cannot change a result are left out. {ABSENT}: the arm does not have this option."
        )
        columns = [Column("option"), *map(Column, names)]
        parts.append(
            Table(
                "differences", f"Options in which the arms differ, on {data_of(comparison)}", columns, values_of, note
            )
        )
    else:
        parts.append(Text("The arms' configurations do not differ."))
    return Section("Differences between the arms", parts)
