"""Comparisons: runs sorted into arms, settings and seeds."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lmlab.analysis.options import assigned, varied
from lmlab.analysis.records import Record, read, together
from lmlab.config.identity import identity
from lmlab.config.nodes import at
from lmlab.config.overrides import written
from lmlab.errors import UserError, nearest
from lmlab.metrics import VALIDATION, Measures, on_split, split_of
from lmlab.runs.run import Run
from lmlab.sweeps.study import Study
from lmlab.sweeps.sweep import Job, Sweep


@dataclass(frozen=True, eq=False)
class Setting:
    """Finished runs that differ in nothing but their seed.

    Attributes:
        runs: one a seed, in the order of seeds.
    """

    runs: Sequence[Record]

    @cached_property
    def identity(self) -> str:
        """The identity of the configuration that its runs have in common."""
        return identity({**self.runs[0].setting, "seed": 0})

    def scores(self, metric: str) -> dict[int, float]:
        """Return the final values of a metric by seed, of the runs that have it."""
        values = {run.seed: run.metric(metric) for run in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over seeds; nan if one of them diverged."""
        scores = list(self.scores(metric).values())
        return sum(scores) / len(scores) if scores else math.nan


@dataclass(frozen=True, eq=False)
class Arm:
    """One side of a comparison, such as an architecture, with every setting that was tried to tune it.

    Attributes:
        name: its name.
        settings: every setting that was tried.
        representative: the one of them that represents the arm in the conclusion.
    """

    name: str
    settings: Sequence[Setting]
    representative: Setting

    @property
    def runs(self) -> Sequence[Record]:
        """The runs of the representative setting, one a seed."""
        return self.representative.runs

    @property
    def distinct_settings(self) -> Sequence[Setting]:
        """The settings without a study's trial of the representative one, whose final runs stand for it."""
        own = self.representative.identity
        return [one for one in self.settings if one is self.representative or one.identity != own]

    def scores(self, metric: str) -> dict[int, float]:
        """Return the final values of a metric by seed, of the representative setting."""
        return self.representative.scores(metric)

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the seeds of the representative setting; nan if one diverged."""
        return self.representative.mean(metric)


@dataclass(frozen=True)
class LeftOut:
    """A run that is left out of a comparison, and the reason.

    Attributes:
        arm: the arm that it would belong to; ``None`` if none.
        record: its record; ``None`` if nothing could be read.
        is_trial: it was to choose a setting of a study, not to be averaged.
    """

    run: str
    why: str
    arm: str | None = None
    record: Record | None = None
    is_trial: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """Arms to be compared by a metric.

    Attributes:
        metric: ``<split>/<score>``, the subject of the conclusion.
        arms: in the order of display.
        left_out: selected runs that cannot be averaged.
        study: the study that declared what is held equal and what is tuned; ``None`` for runs outside a study.
        selection: the metric by which settings were selected; ``None``: ``metric``.
        direction: ``minimize`` or ``maximize``, for the user's own metrics; ``None``: the metric's known direction.
        command: the words of the command that reports on it.
    """

    metric: str
    arms: Sequence[Arm]
    left_out: Sequence[LeftOut] = field(default_factory=list)
    study: Any | None = None
    selection: str | None = None
    direction: str | None = None
    command: Sequence[str] = ("lmlab", "report")

    @property
    def selection_metric(self) -> str:
        """The metric by which settings were selected; all of their runs have it."""
        return self.selection or self.metric

    @cached_property
    def measures(self) -> Measures:
        """The metrics of all runs, including those left out."""
        runs = self.all_runs
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
    def selection_heading(self) -> str:
        """The name, with its split, of the metric by which settings were chosen."""
        return self.measures.heading(self.selection_metric)

    @property
    def runs(self) -> list[Record]:
        """The runs of the representative settings, on which the conclusion is based."""
        return [run for arm in self.arms for run in arm.runs]

    @property
    def all_runs(self) -> list[Record]:
        """The runs of all settings."""
        return [run for arm in self.arms for setting in arm.settings for run in setting.runs]

    @property
    def ranked(self) -> list[Arm]:
        """The arms, best first; those that diverged come last."""
        sign = 1 if self.minimizes else -1
        means = {id(arm): sign * arm.mean(self.metric) for arm in self.arms}
        return sorted(self.arms, key=lambda arm: math.inf if math.isnan(means[id(arm)]) else means[id(arm)])


def default_metric(records: Iterable[Record]) -> str:
    """Return the default metric: of those that tables show, the one that most finished runs have.

    Among equals, it is the first: the primary metric, if all runs have the same kind of data.
    """
    finished = [record for record in records if record.status == "finished"]
    shown = together(finished).shown
    return max(shown, key=lambda name: sum(record.metric(name) is not None for record in finished))


def default_arm(records: Iterable[Record]) -> Callable[[Record], str]:
    """Return the default naming of arms: by the model if it differs, otherwise by every option that does.

    An arm is called ``lstm``, ``mixer=gru`` or ``lr=0.003 depth=2``. With several corpora, each has arms of its own:
    ``lstm, parity``, and for local texts ``lstm, a.txt``.
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
    """Return the names of the runs' corpora, with the start of a fingerprint where texts share a name."""
    named = {_data_of(record): record for record in records}
    corpora = {key: record.corpus if key[1] else str(key[0]) for key, record in named.items()}
    count = Counter(corpora.values())
    return {key: f"{name} {key[1][:6]}" if count[name] > 1 and key[1] else name for key, name in corpora.items()}


def _data_of(record: Record) -> tuple[str | None, str | None]:
    """Return the data option of a run and, for local text, its fingerprint."""
    is_local = bool(at(record.config, "data.paths"))
    return record.choice("data"), at(record.manifest, "data.corpus_fingerprint") if is_local else None


def compare(
    records: Iterable[Record],
    metric: str | None = None,
    arm: Callable[[Record], str] | None = None,
    direction: str | None = None,
    trials: Collection[str] = (),
) -> Comparison:
    """Sort finished runs into arms by ``arm``, and into settings by the options that differ besides the seed.

    The chosen setting of an arm is the one with the most seeds; among equals, the one with the best mean on the
    validation split, even if ``metric`` is of another split. Of repetitions of a run, the first counts. Runs without a
    finite score are left out, and listed. So is the trial by which a study chose a setting, next to other runs of that
    setting: it was the best of several, so its score is too good.

    Args:
        metric: ``<split>/<score>``, or any metric that the runs recorded; ``None``: :func:`default_metric`.
        arm: the name of a run's arm; ``None``: :func:`default_arm`.
        direction: ``minimize`` or ``maximize``; see :meth:`lmlab.metrics.Measures.better`.
        trials: names of the directories of studies' trials (:func:`lmlab.sweeps.study.trials_of_all`).

    Raises:
        UserError: the metric is unknown, or it has another direction.
    """
    records = list(records)
    metric = metric or default_metric(records)
    check_metric(metric, records)
    better = together(records).better(metric, direction)
    selection = _selection_metric(metric, records)
    arm = arm or default_arm(records)
    arms: dict[str, dict[str, dict[int, Record]]] = {}
    left_out = []
    counted: dict[tuple[str, int], Record] = {}
    for record in sorted(records, key=lambda record: record.copy):
        name, why = arm(record), why_not(record, selection)
        if why is None:
            setting = Setting([record]).identity
            first = counted.setdefault((setting, record.seed), record)
            if first is record:
                arms.setdefault(name, {}).setdefault(setting, {})[record.seed] = record
            else:
                why = f"computes the same as {first.label} ({first.run.path.name}), which is counted instead"
        if why is not None:
            left_out.append(LeftOut(record.label, why, name, record))
    for name, settings_of_arm in arms.items():
        for runs in settings_of_arm.values():
            of_search = [record for record in runs.values() if record.run.path.name in trials]
            for record in of_search if len(of_search) < len(runs) else ():
                why = "is the trial by which a study chose this setting"
                left_out.append(LeftOut(record.label, why, name, runs.pop(record.seed), True))
    sign = 1 if better == "lower" else -1

    def quality(setting: Setting) -> tuple[int, float]:
        scores = list(setting.scores(selection).values())
        return -len(scores), sign * sum(scores) / len(scores)

    scored_arms = []
    for name in dict.fromkeys(arm(record) for record in records if why_not(record, selection) is None):
        settings = [Setting([runs[seed] for seed in sorted(runs)]) for runs in arms.get(name, {}).values()]
        if not settings:
            continue
        best = min(settings, key=quality)
        without = {run: why for run in best.runs if (why := why_not(run, metric)) is not None}
        left_out += [LeftOut(run.label, why, name, run) for run, why in without.items()]
        representative = Setting([run for run in best.runs if run not in without]) if without else best
        if representative.runs:
            settings = [representative if setting is best else setting for setting in settings]
            scored_arms.append(Arm(name, settings, representative))
    return Comparison(metric, scored_arms, left_out, selection=selection, direction=direction)


def check_metric(metric: str, records: Sequence[Record]) -> None:
    """Raise unless the runs compute a metric on a split of their data, or have recorded it.

    Raises:
        UserError: the metric is unknown; the message names the nearest one.
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


def _selection_metric(metric: str, records: Iterable[Record]) -> str:
    """Return the metric by which settings are chosen: the same score on the validation split, if runs have it."""
    validated = on_split(metric, VALIDATION)
    return validated if any(record.metric(validated) is not None for record in records) else metric


def why_not(record: Record, metric: str) -> str | None:
    """Return why a run has no score to be averaged; ``None`` if it has one."""
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
    """Return the command that scores runs on a split, as a user would type it."""
    names = [record.reference for record in records]
    return shlex.join(["lmlab", "evaluate", *["-m"] * (len(names) > 1), f"run={','.join(names)}", f"split={split}"])


def can_be_scored(record: Record, metric: str) -> bool:
    """Return whether ``lmlab evaluate`` would give a finished run a metric that it lacks."""
    missing = record.status == "finished" and record.metric(metric) is None
    split = split_of(metric)
    return missing and record.measures.metric(metric) is not None and split != VALIDATION and split in record.splits


def compare_by(
    records: Sequence[Record],
    arm: Sequence[str] = (),
    metric: str | None = None,
    baseline: str | None = None,
    direction: str | None = None,
    trials: Collection[str] = (),
) -> Comparison:
    """Sort records into arms, with the baseline first.

    Args:
        arm: groups (``model``) or options (``optimizer.lr``) whose values name an arm; empty: those that differ.
        metric, direction, trials: see :func:`compare`.
        baseline: the name of an arm; ``None``: that of the first run.

    Raises:
        UserError: no run has the option, or the metric or arm is unknown.
    """
    for key in arm:
        _check(key, records)
    comparison = compare(records, metric, (lambda record: arm_of(record, arm)) if arm else None, direction, trials)
    return with_baseline(comparison, baseline)


def with_baseline(comparison: Comparison, baseline: str | None) -> Comparison:
    """Return a comparison with an arm in the first place; ``None``: as it is. Raises ``UserError`` if it has none."""
    names = [one.name for one in comparison.arms]
    if baseline is not None and baseline not in names:
        raise UserError(f"baseline={baseline}: unknown arm{nearest(baseline, names)}")
    return replace(comparison, arms=sorted(comparison.arms, key=lambda one: one.name != baseline))


def arm_of(record: Record, keys: Sequence[str]) -> str:
    """Return the name of a run's arm: ``lstm``, or ``optimizer.lr=0.001``; for a group, only the option's name."""
    return " ".join(record.choice(key) or f"{key}={written(at(record.config, key))}" for key in keys)


def _check(key: str, records: Sequence[Record]) -> None:
    """Raise ``UserError`` if no run has the option ``key``."""
    has = [record for record in records if record.choice(key) is not None or at(record.config, key) is not None]
    if records and not has:
        options = {*records[0].manifest.get("choices", {}), *varied(records)}
        raise UserError(f"arm={key}: none of these runs has this option{nearest(key, options)}")


def comparison_of(
    sweep: Sweep,
    cache: Path | None = None,
    home: Path | None = None,
    metric: str | None = None,
    baseline: str | None = None,
    direction: str | None = None,
) -> Comparison:
    """Sort the runs of a study, finished or not, into the arms that it declared.

    An arm's settings are its trials (one run each, with the tuning seed) and, last, the chosen setting: its final runs,
    one for each seed that is finished. The trial that won is not part of the chosen setting. Pilot runs are not used.
    Runs that did not finish or have no score are left out, and so are arms without a final run. A trial must have the
    metric by which settings are chosen, a final run the metric of the conclusion.

    Args:
        cache, home: see :class:`lmlab.analysis.records.Record`.
        metric, baseline, direction: in place of the study's own; see :func:`compare_by`.

    Raises:
        UserError: the sweep does not belong to a study, or the metric or arm is unknown.
    """
    study = Study.of(sweep)
    jobs = [job for job in sweep.jobs if job.phase in ("trial", "final")]
    paths = dict.fromkeys(Path(job.path) for job in jobs if job.path is not None)
    records = read((Run(path) for path in paths), cache, home)
    by_path = {record.run.path: record for record in records.readable}
    usable: dict[str, dict[str, dict[Path, Record]]] = {arm: {"trial": {}, "final": {}} for arm in study.arms}
    final = [by_path.get(Path(job.path)) for job in jobs if job.phase == "final" and job.path is not None]
    measures = together(records.readable)
    if metric is None:
        metric = study.concludes_by(measures, (record.splits for record in final if record is not None))
        selection_metric, direction = study.selection_metric(measures), direction or study.direction
    else:
        check_metric(metric, records.readable)
        selection_metric = _selection_metric(metric, records.readable)  # for sensitivity: of the same kind
    measures.better(metric, direction)  # refuses another direction than a known metric has
    left_out = []
    for job in jobs:
        assert job.arm is not None and job.phase is not None
        path = None if job.path is None else Path(job.path)
        record = by_path.get(path) if path is not None else None
        why = _why_not(job, record, metric if job.phase == "final" else selection_metric)
        if record is None and path in records.unreadable:
            why = records.unreadable[path]
        if why is None:
            assert record is not None
            usable[job.arm][job.phase][record.run.path] = record
        else:
            label = f"{job.arm}, {job.phase} run {record.label if record else job.name}"
            left_out.append(LeftOut(label, why, job.arm, record, job.phase == "trial"))
    arms = []
    for name, by_phase in usable.items():
        if not by_phase["final"]:
            left_out.append(LeftOut(name, "has no finished final run", name))
            continue
        final_setting = Setting(sorted(by_phase["final"].values(), key=lambda record: record.seed))
        arms.append(
            Arm(name, [*(Setting([record]) for record in by_phase["trial"].values()), final_setting], final_setting)
        )
    return with_baseline(Comparison(metric, arms, left_out, study, selection_metric, direction), baseline)


def _why_not(job: Job, record: Record | None, metric: str) -> str | None:
    """Return why a job's run is left out of the comparison; ``None`` if it is not."""
    if job.status == "not started":
        return f"was not started: {job.error}"
    if record is None:
        return job.error or f"is {job.status}"
    return why_not(record, metric)
