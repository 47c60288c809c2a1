"""``lmlab wandb workspace``: a W&B workspace and a report of a sweep's runs, their curves averaged by arm."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab.commands import tables
from lmlab.config.nodes import leaves
from lmlab.errors import RunFailed, UserError, first_line, nearest
from lmlab.metrics import TRAINING_LOSS, Measures
from lmlab.runs.files import read_json, write_json
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Sweep
from lmlab.wandb.mirror import WandbRecord, logged_in

GROUP = "group"
"""The value of ``arm`` that is no option: the group of a run at W&B."""


@dataclass(frozen=True)
class Shown:
    """Content of the pages of a sweep.

    Attributes:
        name: the name of the sweep, and of the parts of pages that lmlab owns; a user's own parts are kept.
        entity, project: the place of the runs at W&B.
        runs: their ids there.
        arm: the option by which curves are averaged, or ``group``.
        metrics: the metrics drawn against tokens, with the labels of their axes.
    """

    name: str
    entity: str
    project: str
    runs: Sequence[str]
    arm: str
    metrics: Mapping[str, str]


def make(sweep: Sweep, arm: str) -> None:
    """Create or update the workspace and the report, and print their addresses.

    ``wandb.json`` in the sweep's directory stores the addresses.

    Raises:
        UserError: a package or the login is missing, the sweep has no runs at W&B or runs in several projects, or the
            arm is no option of the runs.
        RunFailed: W&B refused a page; existing pages are kept.
    """
    _require_package()
    shown, lacking = of(sweep, arm)
    if not logged_in():
        raise UserError("you are not logged in to W&B: set WANDB_API_KEY, or run wandb login")
    path = sweep.path / "wandb.json"
    addresses = read_json(path) if path.exists() else {}
    where = {"entity": shown.entity, "project": shown.project}
    if not where.items() <= addresses.items():
        addresses = where
    for kind, save in (("workspace", save_workspace), ("report", save_report)):
        try:
            addresses[kind] = save(shown, addresses.get(kind))
        except Exception as error:  # the package documents no errors
            raise RunFailed(f"W&B does not take the {kind} ({first_line(error)}); repeat the command") from error
        write_json(path, addresses)
        tables.say(addresses[kind], f"W&B {kind}:")
    for line in lacking:
        tables.say(line)


def of(sweep: Sweep, arm: str) -> tuple[Shown, list[str]]:
    """Return the content of the pages of ``sweep``, with notes on its runs that W&B lacks.

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
    logged = {name for run in runs.values() for name in run.manifest["metrics"]}
    measures = Measures.together(run.measures for run in runs.values())
    drawn = [*(name for name in measures.everything if name in logged or not logged), TRAINING_LOSS]
    metrics = {name: measures.heading(name) for name in drawn}
    ((entity, project),) = places
    return Shown(sweep.path.name, entity, project, sorted(runs), arm, metrics), lacking


def save_workspace(shown: Shown, url: str | None) -> str:
    """Save the workspace, that at ``url`` if it exists, and return its address."""
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
    """Save the report, that at ``url`` if it exists, and return its address."""
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
    width, height = 12, 8  # a row has 24 columns
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
    """Return a filter of the runs by id, because runs computed by an earlier sweep belong to this one too."""
    return f"Metric('ID') in {list(shown.runs)!r}"


def _existing(load: Callable[[str], Any], url: str | None) -> Any | None:
    """Return the existing page at ``url``; ``None`` if there is none or it has been deleted at W&B."""
    try:
        return load(url) if url else None
    except (ValueError, TypeError):  # raised by the package for a deleted page
        return None


def _check_option(arm: str, configs: Sequence[Mapping[str, Any]]) -> None:
    options = {key for config in configs for key, _ in leaves(config)}
    if arm not in options:
        raise UserError(f"arm={arm}: neither {GROUP} nor an option of the sweep's runs{nearest(arm, options)}")


def _require_package() -> None:
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("workspace: needs the package wandb-workspaces (pip install 'lmlab[workspaces]')")
