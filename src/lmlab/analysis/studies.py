"""The comparison that a study declared, from the runs of its sweep."""

from pathlib import Path

from lmlab.analysis.comparison import Arm, Comparison, LeftOut, Setting, why_not
from lmlab.analysis.records import Record, read, together
from lmlab.runs.run import Run
from lmlab.sweeps.study import Study
from lmlab.sweeps.sweep import Job, Sweep


def comparison_of(sweep: Sweep, cache: Path | None = None, home: Path | None = None) -> Comparison:
    """Sort the runs of a study, finished or not, into the arms that it declared.

    An arm's settings are its trials (one run each, with the tuning seed) and, last, the chosen setting: its final runs,
    one for each seed that is finished. The trial that won is not part of the chosen setting. Pilot runs are not used.
    Runs that did not finish or have no score are left out, and so are arms without a final run. A trial must have the
    metric by which settings are chosen, a final run the metric of the conclusion.

    Args:
        cache, home: see :class:`lmlab.analysis.records.Record`.

    Raises:
        UserError: the sweep does not belong to a study.
    """
    study = Study.of(sweep)
    jobs = [job for job in sweep.jobs if job.phase in ("trial", "final")]
    paths = dict.fromkeys(Path(job.path) for job in jobs if job.path is not None)
    records = read((Run(path) for path in paths), cache, home)
    by_path = {record.run.path: record for record in records.readable}
    usable: dict[str, dict[str, dict[Path, Record]]] = {arm: {"trial": {}, "final": {}} for arm in study.arms}
    final = [by_path.get(Path(job.path)) for job in jobs if job.phase == "final" and job.path is not None]
    measures = together(records.readable)
    selection_metric = study.selection_metric(measures)
    metric = study.concludes_by(measures, (record.splits for record in final if record is not None))
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
            left_out.append(LeftOut(label, why, job.arm, record))
    arms = []
    for name, by_phase in usable.items():
        if not by_phase["final"]:
            left_out.append(LeftOut(name, "has no finished final run", name))
            continue
        final_setting = Setting(sorted(by_phase["final"].values(), key=lambda record: record.seed))
        arms.append(
            Arm(name, [*(Setting([record]) for record in by_phase["trial"].values()), final_setting], final_setting)
        )
    return Comparison(metric, arms, left_out, study, selection_metric, study.direction)


def _why_not(job: Job, record: Record | None, metric: str) -> str | None:
    """Return why a job's run is left out of the comparison; ``None`` if it is not."""
    if job.status == "not started":
        return f"was not started: {job.error}"
    if record is None:
        return job.error or f"is {job.status}"
    return why_not(record, metric)
