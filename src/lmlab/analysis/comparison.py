"""What is compared with what: runs sorted into arms, settings and seeds."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmlab.analysis.options import assigned, varied
from lmlab.analysis.records import Record, together
from lmlab.config import identity
from lmlab.errors import UserError, nearest
from lmlab.metrics import VALIDATION, Measures, on_split, split_of


@dataclass(frozen=True, eq=False)
class Setting:
    """Finished runs that differ in nothing but their seed.

    Attributes:
        runs: one a seed, in the order of seeds.
    """

    runs: Sequence[Record]

    def scores(self, metric: str) -> dict[int, float]:
        """The final metric by seed, of runs that have it."""
        found = {run.seed: run.metric(metric) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Arm:
    """One side of a comparison: an architecture, say, with everything that was tried to tune it.

    Attributes:
        name: what it is called.
        settings: everything that was tried, the chosen one too.
        chosen: the setting that stands for the arm.
    """

    name: str
    settings: Sequence[Setting]
    chosen: Setting

    @property
    def has_one_seed(self) -> bool:
        """Whether nothing can be said about how much it varies."""
        return len(self.chosen.runs) == 1


@dataclass(frozen=True)
class LeftOut:
    """A run that has no part in a comparison, and why.

    Attributes:
        arm: the arm that it would belong to; ``None``: to none.
        record: what it left behind; ``None``: nothing that could be read.
    """

    run: str
    why: str
    arm: str | None = None
    record: Record | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Arms to be compared by a metric.

    Attributes:
        metric: ``<split>/<score>``, which the conclusion is about.
        arms: in the order in which they are to be shown.
        left_out: what was asked for but cannot be averaged.
        study: what a study declared to be held equal and to be tuned; ``None`` for runs that no study asked for.
        choice: the metric that settings were chosen by; ``None``: ``metric``.
        direction: ``minimize`` or ``maximize``, of metrics of the user's own; ``None``: the one that is known of them.
        command: the words of the command that reports on it.
    """

    metric: str
    arms: Sequence[Arm]
    left_out: Sequence[LeftOut] = field(default_factory=list)
    study: Any | None = None
    choice: str | None = None
    direction: str | None = None
    command: Sequence[str] = ("lmlab", "report")

    @property
    def chosen_by(self) -> str:
        """The metric that settings were chosen by, which all of their runs have."""
        return self.choice or self.metric

    @cached_property
    def measures(self) -> Measures:
        """The metrics of all its runs, also of those that were left out."""
        runs = [run for arm in self.arms for setting in arm.settings for run in setting.runs]
        return together([*runs, *(left.record for left in self.left_out if left.record is not None)])

    @property
    def minimizes(self) -> bool:
        """True if lower values of the metric are better."""
        return self.measures.better(self.metric, self.direction) == "lower"

    @property
    def label(self) -> str:
        """The name of the metric, without its split."""
        return self.measures.label(self.metric)

    @property
    def heading(self) -> str:
        """The name of the metric, with its split."""
        return self.measures.heading(self.metric)

    @property
    def heading_of_choice(self) -> str:
        """The name, with its split, of the metric that settings were chosen by."""
        return self.measures.heading(self.chosen_by)

    @property
    def runs(self) -> list[Record]:
        """The runs that the conclusion rests on."""
        return [run for arm in self.arms for run in arm.chosen.runs]


def default_metric(records: Iterable[Record]) -> str:
    """Return the metric that runs are best compared by: of those that tables show, what most finished runs have.

    Of several, it is the first: the primary one, if all runs have one kind of data.
    """
    finished = [record for record in records if record.status == "finished"]
    shown = together(finished).shown
    return max(shown, key=lambda name: sum(record.metric(name) is not None for record in finished))


def default_arm(records: Iterable[Record]) -> Callable[[Record], str]:
    """What runs are best sorted by: the model where it differs, otherwise every option that does.

    An arm is called ``lstm``, ``mixer=gru`` or ``lr=0.003 depth=2``; on several data each has an arm of its own,
    ``lstm, parity``, and on several local texts ``lstm, a.txt``.
    """
    finished = [record for record in records if record.status == "finished"]
    corpora = _corpora(finished)
    several_data = len(corpora) > 1
    several_models = len({record.choice("model") or record.architecture for record in finished}) > 1
    keys = [] if several_models or not finished else varied(finished)
    keys = [key for key in keys if not (several_data and key.split(".")[0] in ("data", "tokenizer"))]
    ends = Counter(key.rpartition(".")[2] for key in keys)
    names = {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in keys}

    def name(record: Record) -> str:
        options = " ".join(assigned(record, key, names[key]) for key in keys) or record.architecture
        return f"{options}, {corpora.get(_data_of(record)) or record.corpus}" if several_data else options

    return name


def _corpora(records: Iterable[Record]) -> dict[tuple[str | None, str | None], str]:
    """The names of what runs are on, told apart by the start of a fingerprint where texts have one name."""
    named = {_data_of(record): record for record in records}
    corpora = {key: record.corpus if key[1] else str(key[0]) for key, record in named.items()}
    count = Counter(corpora.values())
    return {key: f"{name} {key[1][:6]}" if count[name] > 1 and key[1] else name for key, name in corpora.items()}


def _data_of(record: Record) -> tuple[str | None, str | None]:
    """The data that a run chose and, of local text, its fingerprint."""
    is_local = bool(record.config.get("data", {}).get("paths"))
    return record.choice("data"), record.manifest.get("data", {}).get("corpus_fingerprint") if is_local else None


def compare(
    records: Iterable[Record],
    metric: str | None = None,
    arm: Callable[[Record], str] | None = None,
    direction: str | None = None,
) -> Comparison:
    """Sort finished runs into arms by what ``arm`` says, and settings by what differs besides the seed.

    The setting with the most seeds stands for an arm; of those with equally many, the one with the best mean on the
    validation split, whichever split ``metric`` is of. Of runs that computed the same again, the first counts. What has
    no finite score is left out, and listed.

    Args:
        metric: ``<split>/<score>``, or any metric that the runs recorded; ``None``: :func:`default_metric`.
        arm: the name of a run's arm; ``None``: :func:`default_arm`.
        direction: ``minimize`` or ``maximize``; see :meth:`lmlab.metrics.Measures.better`.

    Raises:
        UserError: there is no such metric, or it has another direction.
    """
    records = list(records)
    metric = metric or default_metric(records)
    check_metric(metric, records)
    better = together(records).better(metric, direction)
    choice = _choice(metric, records)
    arm = arm or default_arm(records)
    arms: dict[str, dict[str, dict[int, Record]]] = {}
    left_out = []
    counted: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=lambda record: record.copy):
        name, why = arm(record), why_not(record, choice)
        if why is None:
            setting = identity({**record.setting, "seed": 0})
            first = counted.setdefault((setting, record.seed), record)
            if first is record:
                arms.setdefault(name, {}).setdefault(setting, {})[record.seed] = record
            else:
                why = f"computes the same as {first.label} ({first.run.path.name}), which counts"
        if why is not None:
            left_out.append(LeftOut(record.label, why, name, record))
    sign = 1 if better == "lower" else -1

    def quality(setting: Setting) -> tuple[int, float]:
        scores = list(setting.scores(choice).values())
        return -len(scores), sign * sum(scores) / len(scores)

    made = []
    for name in dict.fromkeys(arm(record) for record in records if why_not(record, choice) is None):
        settings = [Setting([runs[seed] for seed in sorted(runs)]) for runs in arms.get(name, {}).values()]
        if not settings:
            continue
        best = min(settings, key=quality)
        without = {run: why for run in best.runs if (why := why_not(run, metric)) is not None}
        left_out += [LeftOut(run.label, why, name, run) for run, why in without.items()]
        chosen = Setting([run for run in best.runs if run not in without]) if without else best
        if chosen.runs:
            made.append(Arm(name, [chosen if setting is best else setting for setting in settings], chosen))
    return Comparison(metric, made, left_out, choice=choice, direction=direction)


def check_metric(metric: str, records: Sequence[Record]) -> None:
    """Refuse a metric that the runs neither compute on a split of their data nor have recorded.

    Raises:
        UserError: it names the nearest one.
    """
    finished = [record for record in records if record.status == "finished"]
    if any(record.metric(metric) is not None for record in finished):
        return
    splits = dict.fromkeys([VALIDATION, *(split for record in records for split in record.splits)])
    split, measures = split_of(metric), together(records)
    if measures.metric(metric) is not None:
        if not finished or split in splits or metric in measures.shown:
            return
        raise UserError(f"metric={metric}: the data of these runs have no split {split}{nearest(split, splits)}")
    recorded = {name for record in finished for name in record.scores} | {*measures.everything}
    if split in splits:
        recorded |= {*measures.names(split)}
    raise UserError(f"metric={metric}: unknown{nearest(metric, recorded)}")


def _choice(metric: str, records: Iterable[Record]) -> str:
    """The metric that settings are chosen by: the same score on the validation split, where runs have it."""
    choice = on_split(metric, VALIDATION)
    return choice if any(record.metric(choice) is not None for record in records) else metric


def why_not(record: Record, metric: str) -> str | None:
    """Why a run has no score to be averaged; ``None``: it has one."""
    if record.status != "finished":
        return f"is {record.status}: {record.error or 'it has no result'}"
    score = record.metric(metric)
    if score is None:
        if can_be_scored(record, metric):
            return f"has no {metric}: {evaluate_command([record], split_of(metric))} scores it"
        others = [name for name in record.measures.shown if record.metric(name) is not None]
        return f"has no {metric}" + (f" (it has {', '.join(others)})" if others else "")
    return None if math.isfinite(score) else f"has {metric}={score}"


def evaluate_command(records: Iterable[Record], split: str) -> str:
    """The command that scores runs on a split, as it would be typed."""
    names = [record.reference for record in records]
    return shlex.join(["lmlab", "evaluate", *["-m"] * (len(names) > 1), f"run={','.join(names)}", f"split={split}"])


def can_be_scored(record: Record, metric: str) -> bool:
    """Return whether ``lmlab evaluate`` would give a finished run a metric that it lacks."""
    missing = record.status == "finished" and record.metric(metric) is None
    split = split_of(metric)
    return missing and record.measures.metric(metric) is not None and split != VALIDATION and split in record.splits
