"""What the W&B client sends of a sweep's workspace and report, and what repeating the command leaves alone."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import wandb

from lmlab.commands.wandb_workspace import make
from lmlab.errors import RunFailed, UserError
from lmlab.runs.files import write_json
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Job, Sweep

sys.path.append(str(Path(__file__).parents[1]))
from synthetic_runs import write_run
from wandb_server import ENTITY, wandb_server


@pytest.fixture
def server(monkeypatch):
    with wandb_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
    wandb.teardown()


def at_wandb(run: Run, project: str = "lmlab") -> str:
    """Write that ``run`` is at W&B, and return its id there."""
    fields = {"id": f"{run.id}-w", "entity": ENTITY, "project": project, "url": "somewhere", "complete": True}
    write_json(run.path / "wandb.json", fields)
    return fields["id"]


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """Two models with two seeds each, at W&B, and a job that has not begun."""
    runs = [
        write_run(tmp_path / "runs", f"model={model}", seed=seed)
        for model in ("lstm", "transformer")
        for seed in (1, 2)
    ]
    for run in runs:
        at_wandb(run)
    sweep = Sweep(tmp_path / "sweeps" / "2026-01-01")
    sweep.path.mkdir(parents=True)
    write_json(sweep.path / "sweep.json", {"command": [], "status": "finished"})
    jobs = [Job(number, [], path=str(run.path)) for number, run in enumerate(runs)]
    sweep.write([*jobs, Job(len(jobs), [])])
    return sweep


def view(server, kind: str) -> dict:
    """The only view of that type at the server, with its parsed spec."""
    (found,) = (view for view in server.views.values() if view["type"] == kind)
    return found | {"spec": json.loads(found["spec"])}


def parts(server) -> tuple[dict, dict]:
    """The workspace's section settings and the report's grid, as the server has them."""
    (grid,) = (block for block in view(server, "runs")["spec"]["blocks"] if block["type"] == "panel-grid")
    return view(server, "project-view")["spec"]["section"], grid["metadata"]


def shown(runset: dict) -> tuple[list[str], list[tuple[str, str]]]:
    """The ids that a set of runs is filtered to, and what it is grouped by."""
    (condition,) = (f for f in runset["filters"]["filters"])
    assert condition["key"] == {"section": "run", "name": "name"} and condition["op"] == "IN"
    return sorted(condition["value"]), [(key["section"], key["name"]) for key in runset["grouping"]]


def test_workspace_and_report_draw_the_sweep_s_runs_by_arm_against_tokens(server, sweep, capsys):
    make(sweep, "name")
    ids = sorted(f"{job.run.id}-w" for job in sweep.jobs if job.path)
    section, grid = parts(server)
    (ours,) = section["panelBankConfig"]["sections"]
    assert ours["name"] == "2026-01-01"
    scores = ("bits_per_byte", "loss", "perplexity", "accuracy", "calibration_error")
    expected = {"train/loss", *(f"validation/{score}" for score in scores)}
    for panels in (ours["panels"], grid["panelBankSectionConfig"]["panels"]):
        configs = [panel["config"] for panel in panels]
        assert {metric for config in configs for metric in config["metrics"]} == expected and len(configs) == 6
        assert {config["xAxis"] for config in configs} == {"tokens"}
        assert {config["groupBy"] for config in configs} == {"name.value"}
        assert {(config["groupAgg"], config["groupArea"]) for config in configs} == {("mean", "minmax")}
    assert shown(section["runSets"][0]) == shown(grid["runSets"][0]) == (ids, [("config", "name.value")])
    made = json.loads((sweep.path / "wandb.json").read_text())
    assert made["workspace"].startswith(f"{server.url}/{ENTITY}/lmlab?nw=")
    assert made["report"].startswith(f"{server.url}/{ENTITY}/lmlab/reports/lmlab-2026-01-01--")
    printed = capsys.readouterr().out.replace("\n", "")
    assert made["workspace"] in printed and made["report"] in printed


@pytest.mark.parametrize(
    ("arm", "grouping", "panel"),
    [
        ("optimizer.lr", ("config", "optimizer.value.lr"), "optimizer.value.lr"),
        ("group", ("run", "group"), "group"),
    ],
)
def test_an_arm_is_an_option_or_the_group(arm, grouping, panel, server, sweep):
    make(sweep, arm)
    section, grid = parts(server)
    for runset, panels in (
        (section["runSets"][0], section["panelBankConfig"]["sections"][0]["panels"]),
        (grid["runSets"][0], grid["panelBankSectionConfig"]["panels"]),
    ):
        assert shown(runset)[1] == [grouping]
        assert {chart["config"]["groupBy"] for chart in panels} == {panel}


def test_repeating_brings_the_same_pages_up_to_date_and_keeps_what_a_user_has_added(server, sweep, tmp_path):
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    make(sweep, "name")
    made = json.loads((sweep.path / "wandb.json").read_text())
    workspace = ws.Workspace.from_url(made["workspace"])
    workspace.sections = [*workspace.sections, ws.Section(name="mine")]
    workspace.save()
    report = wr.Report.from_url(made["report"])
    report.blocks = [wr.P("What I think of it."), *report.blocks]
    report.save()
    late = write_run(tmp_path / "runs", "model=lstm", seed=3)
    new = at_wandb(late)
    sweep.write([*sweep.jobs[:-1], Job(4, [], path=str(late.path))])
    make(sweep, "name")
    assert json.loads((sweep.path / "wandb.json").read_text()) == made
    assert len(server.views) == 2
    section, grid = parts(server)
    assert [part["name"] for part in section["panelBankConfig"]["sections"]] == ["2026-01-01", "mine"]
    assert new in shown(section["runSets"][0])[0] and new in shown(grid["runSets"][0])[0]
    assert "What I think of it." in json.dumps(view(server, "runs")["spec"])


def test_pages_that_were_deleted_are_made_again(server, sweep):
    make(sweep, "name")
    before = json.loads((sweep.path / "wandb.json").read_text())
    server.views.clear()
    make(sweep, "name")
    after = json.loads((sweep.path / "wandb.json").read_text())
    assert len(server.views) == 2 and after["workspace"] != before["workspace"]


@pytest.mark.parametrize("asked", ["View$", "SpecificReport", "upsertView", "UpsertView2"])
def test_a_server_that_refuses_changes_nothing_about_what_was_made_before(asked, server, sweep):
    make(sweep, "name")
    before = (sweep.path / "wandb.json").read_text()
    server.behave(status=400, only=asked)
    with pytest.raises(
        RunFailed, match="W&B does not take the (workspace|report) .*made to answer 400.*; repeat the command"
    ):
        make(sweep, "name")
    assert len(server.views) == 2
    assert (sweep.path / "wandb.json").read_text() == before


def test_what_cannot_be_shown_is_refused_before_anything_is_sent(server, sweep, monkeypatch):
    with pytest.raises(UserError, match=r"arm=optimiser\.lr: neither group nor an option .*optimizer\.lr"):
        make(sweep, "optimiser.lr")
    run = sweep.jobs[0].run
    at_wandb(run, "another")
    with pytest.raises(UserError, match=f"several W&B projects .{ENTITY}/another, {ENTITY}/lmlab"):
        make(sweep, "name")
    for job in sweep.jobs[:-1]:
        write_json(job.run.path / "wandb.json", {"id": "a", "complete": False})
    with pytest.raises(UserError, match="none of its runs is at W&B .4 of its 4 .* lmlab wandb sync sends them"):
        make(sweep, "name")
    for job in sweep.jobs[:-1]:
        (job.run.path / "wandb.json").unlink()
    with pytest.raises(UserError, match="none of its runs is at W&B .4 of its 4 runs were not logged to W&B.$"):
        make(sweep, "name")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'lmlab\[workspaces\]'"):
        make(sweep, "name")
    assert not server.views
