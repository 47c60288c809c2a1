"""``lmlab wandb workspace``: a W&B workspace and a report of a sweep's runs, their curves averaged by arm."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.commands import tables
from lmlab.errors import RunFailed, UserError, nearest
from lmlab.metrics import TRAINING_LOSS, Measures
from lmlab.runs.files import read_json, write_json
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Sweep
from lmlab.wandb.mirror import WandbRecord, logged_in

GROUP = "group"
"""The arm that is no option: the group that W&B has a run in."""


@dataclass(frozen=True)
class Shown:
    """What the pages of a sweep show.

    Attributes:
        name: the sweep's, and of the pages' parts that belong to this program: whatever else a user adds stays.
        entity, project: where its runs are at W&B.
        runs: their ids there.
        arm: the option by which curves are averaged, or ``group``.
        metrics: what is drawn against tokens, and what its axis says.
    """

    name: str
    entity: str
    project: str
    runs: Sequence[str]
    arm: str
    metrics: Mapping[str, str]


def make(sweep: Sweep, arm: str) -> None:
    """Make the workspace and the report, or bring those made before up to date, and print their addresses.

    ``wandb.json`` in the sweep's directory keeps the addresses.

    Raises:
        UserError: a missing package or login, a sweep without runs at W&B or with runs in several of its projects, an
            arm that is no option of the runs.
        RunFailed: W&B did not take a page; what was made before stays.
    """
    _require_package()
    shown, lacking = of(sweep, arm)
    if not logged_in():
        raise UserError("you are not logged in to W&B: set WANDB_API_KEY, or run wandb login")
    path = sweep.path / "wandb.json"
    made = read_json(path) if path.exists() else {}
    where = {"entity": shown.entity, "project": shown.project}
    if not where.items() <= made.items():
        made = where
    for kind, save in (("workspace", save_workspace), ("report", save_report)):
        try:
            made[kind] = save(shown, made.get(kind))
        except Exception as error:  # whatever the package raises
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise RunFailed(f"W&B does not take the {kind} ({reason}); repeat the command") from error
        write_json(path, made)
        tables.say(made[kind], f"W&B {kind}:")
    for line in lacking:
        tables.say(line)


def of(sweep: Sweep, arm: str) -> tuple[Shown, list[str]]:
    """Return what to show of ``sweep``, with lines about its runs that W&B lacks.

    Raises:
        UserError: see :func:`make`.
    """
    prepared = {job.path: job.run for job in sweep.jobs if job.path is not None and job.run.exists}
    runs: dict[str, Run] = {}
    places = set()
    unsent = 0
    for run in prepared.values():
        record = WandbRecord(run)
        fields = record.fields
        if "url" in fields:
            runs[fields["id"]] = run
            places.add((fields["entity"], fields["project"]))
        elif record.exists:
            unsent += 1
    total = len(prepared)
    unlogged = total - len(runs) - unsent
    lacking = [
        *([f"{unsent} of its {total} runs are not at W&B yet: lmlab wandb sync sends them"] if unsent else []),
        *([f"{unlogged} of its {total} runs were not logged to W&B"] if unlogged else []),
    ]
    if not runs:
        why = f" ({'; '.join(lacking)})" if lacking else ""
        raise UserError(f"name={sweep.path.name}: none of its runs is at W&B{why}")
    if len(places) > 1:
        listed = ", ".join("/".join(place) for place in sorted(places))
        raise UserError(
            f"name={sweep.path.name}: its runs are in several W&B projects ({listed}); a workspace shows one"
        )
    if arm != GROUP:
        _check_option(arm, [run.config for run in runs.values()])
    known = {name for run in runs.values() for name in run.manifest["metrics"]}
    measures = Measures.together(run.measures for run in runs.values())
    drawn = [*(name for name in measures.everything if name in known or not known), TRAINING_LOSS]
    metrics = {name: measures.heading(name) for name in drawn}
    ((entity, project),) = places
    return Shown(sweep.path.name, entity, project, sorted(runs), arm, metrics), lacking


def save_workspace(shown: Shown, url: str | None) -> str:
    """Save the workspace, the one at ``url`` if it is there, and return its address."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    workspace = _existing(ws.Workspace.from_url, url) or ws.Workspace(shown.entity, shown.project)
    ours = ws.Section(name=shown.name, panels=_panels(shown), is_open=True)
    workspace.name = f"lmlab {shown.name}"
    workspace.sections = [ours, *(section for section in workspace.sections if section.name != shown.name)]
    workspace.settings.x_axis = "tokens"
    workspace.runset_settings.filters = _filters(shown)
    workspace.runset_settings.groupby = [expr.Metric("Group") if shown.arm == GROUP else expr.Config(shown.arm)]
    return str(workspace.save().url)


def save_report(shown: Shown, url: str | None) -> str:
    """Save the report, the one at ``url`` if it is there, and return its address."""
    import wandb_workspaces.reports.v2 as wr

    arm = GROUP if shown.arm == GROUP else f"config.{shown.arm}"
    runset = wr.Runset(shown.entity, shown.project, shown.name, filters=_filters(shown), groupby=[arm])
    grid = wr.PanelGrid(runsets=[runset], panels=_panels(shown))
    report = _existing(wr.Report.from_url, url) or wr.Report(
        shown.project,
        shown.entity,
        title=f"lmlab {shown.name}"[:128],
        description=f"Mean of the runs of each {shown.arm} against tokens, with the smallest and the largest.",
        blocks=[grid],
    )
    ours = [_is_ours(block, shown.name) for block in report.blocks]
    if any(ours):
        report.blocks = [grid if own else block for block, own in zip(report.blocks, ours, strict=True)]
    else:
        report.blocks = [*report.blocks, grid]
    return str(report.save().url)


def _is_ours(block: Any, name: str) -> bool:
    return any(runset.name == name for runset in getattr(block, "runsets", []))


def _panels(shown: Shown) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    arm = wr.Metric("Group") if shown.arm == GROUP else wr.Config(shown.arm)
    width, height = 12, 8  # of a row of 24 columns
    return [
        wr.LinePlot(
            title=name,
            x="tokens",
            y=[name],
            title_x="tokens",
            title_y=heading,
            groupby=arm,
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=100,
            layout=wr.Layout(x=number % 2 * width, y=number // 2 * height, w=width, h=height),
        )
        for number, (name, heading) in enumerate(shown.metrics.items())
    ]


def _filters(shown: Shown) -> str:
    """The runs by their ids: a run that an earlier sweep has computed is part of this one, too."""
    return f"Metric('ID') in {list(shown.runs)!r}"


def _existing(load: Callable[[str], Any], url: str | None) -> Any | None:
    """What was made before; ``None`` if nothing was, or it has been deleted at W&B."""
    try:
        return load(url) if url else None
    except (ValueError, TypeError):  # the package's answers to a page that is no more
        return None


def _check_option(arm: str, configs: Sequence[Mapping[str, Any]]) -> None:
    known = {key for config in configs for key in _options(config)}
    if arm not in known:
        raise UserError(f"arm={arm}: neither {GROUP} nor an option of the sweep's runs{nearest(arm, known)}")


def _options(section: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in section.items():
        found += _options(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found


def _require_package() -> None:
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("workspace: needs the package wandb-workspaces (pip install 'lmlab[workspaces]')")
