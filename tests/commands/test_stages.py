"""Experiments with stages, by the command line."""

import json
import shutil

import pytest

from lmlab.analysis.comparison import compare
from lmlab.analysis.options import differing
from lmlab.analysis.records import Record
from lmlab.analysis.report.content.provenance import chain
from lmlab.commands.stages import words_of
from lmlab.errors import UserError
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.runs.start import ancestors, chain_of
from lmlab.sweeps.sweep import all_sweeps


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def train(lmlab, small, tmp_path):
    """Give ``lmlab train``, or another command, for an experiment with two stages."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "two.yaml").write_text(
        "# @package _global_\n"
        "stages:\n"
        "  pretrain: [scheduler=constant]\n"
        "  tune: [start.run=pretrain, start.optimizer=true, scheduler=cooldown, budget.tokens=320]\n"
    )
    options = [f"--config-dir={tmp_path / 'conf'}", "experiment=two", "model=lstm", *small, "logger=[]"]

    def trained(*words, command="train", check=True):
        return lmlab(command, *words[:1], *options, "callbacks.samples=null", *words[1:], check=check)

    return trained


def by_stage(outputs):
    return {run.manifest["stage"]: run for run in all_runs(outputs / "runs")}


def test_stages_are_runs_one_after_another(train, outputs, lmlab):
    said = train("seed=2").stdout
    runs = by_stage(outputs)
    assert [*runs] == ["pretrain", "tune"] or set(runs) == {"pretrain", "tune"}
    parent, child = runs["pretrain"], runs["tune"]
    start = child.manifest["start"]
    assert (start["run"], start["tokens"]) == (parent.id, 640)
    assert start["flops"] == parent.manifest["timings"]["flops"]
    assert parent.config["seed"] == child.config["seed"] == 2 and "stages" not in child.config
    assert child.config["start"]["run"] == parent.id and ancestors(child) == [parent]
    assert chain_of(child) == [f"pretrain {parent.id}", f"tune {child.id}"]
    assert f"stage 1 of 2, pretrain: {parent.path.name}" in said and f"stage 2 of 2, tune: {child.path.name}" in said
    listed = json.loads(lmlab("runs", "format=json").stdout)
    assert {row["stage"]: (row["start"], row["tokens_in_all"]) for row in listed} == {
        "pretrain": (None, 640),
        "tune": (parent.id, 960),
    }
    # The same command computes nothing, also where what it began with is gone.
    shutil.rmtree(parent.path)
    again = train("seed=2").stdout
    assert f"{parent.path.name} is gone, and no stage needs it any more" in again and "recorded result" in again
    assert [run.path for run in all_runs(outputs / "runs")] == [child.path]


@pytest.mark.slow
def test_jobs_of_a_sweep_share_the_stages_that_they_have_in_common(train, outputs):
    train("-m", "stages.tune.optimizer.lr=1e-3,3e-3", "stages.tune.seed=1,2", "seed=1")
    runs = list(all_runs(outputs / "runs"))
    stages = [run.manifest["stage"] for run in runs]
    assert sorted(stages) == ["pretrain", *["tune"] * 4]
    (sweep,) = all_sweeps(outputs / "sweeps")
    jobs = sweep.jobs
    assert {job.status for job in jobs} == {"finished"} and {job.stage for job in jobs} == {None}
    assert {job.run.manifest["stage"] for job in jobs} == {"tune"} and len({job.path for job in jobs}) == 4
    rates = {(job.run.config["optimizer"]["lr"], job.run.config["seed"]) for job in jobs}
    assert rates == {(lr, seed) for lr in (1e-3, 3e-3) for seed in (1, 2)}
    assert "stages.tune.optimizer.lr=1e-3,3e-3" in sweep.command, "as it was typed"


@pytest.mark.slow
def test_a_repetition_is_of_all_stages_and_begins_each_with_the_one_before(train, outputs):
    train("seed=1")
    first = by_stage(outputs)
    said = train("seed=1", "rerun=true").stdout
    copies = {name: Run(run.path.with_name(f"{run.path.name}-2")) for name, run in first.items()}
    assert copies["tune"].path.name in said.partition("Run directory")[2], "the result is that of the repetition"
    assert ancestors(copies["tune"]) == [copies["pretrain"]] and ancestors(first["tune"]) == [first["pretrain"]]
    for name, run in first.items():
        assert copies[name].manifest["metrics"] == run.manifest["metrics"]
    # An interrupted repetition goes on with the weights that it began with.
    copies["tune"].update(status="interrupted")
    assert f"{copies['pretrain'].path.name} is finished" in train("seed=1", "rerun=true").stdout
    assert copies["tune"].status == "finished" and len([*all_runs(outputs / "runs")]) == 4


@pytest.mark.slow
def test_jobs_of_a_sweep_share_a_repetition_of_their_stages(train, outputs):
    words = ("-m", "stages.tune.seed=1,2", "seed=1")
    train(*words)
    first = list(all_runs(outputs / "runs"))
    train(*words, "rerun=true")
    copies = [run for run in all_runs(outputs / "runs") if run not in first]
    assert {run.path.name for run in copies} == {f"{run.path.name}-2" for run in first}
    (pretrained,) = [run for run in copies if run.manifest["stage"] == "pretrain"]
    assert [ancestors(run) for run in copies if run != pretrained] == [[pretrained]] * 2


@pytest.mark.slow
def test_runs_of_other_seeds_along_the_chain_are_repetitions(train, outputs):
    train("-m", "seed=1,2,3")
    tuned = [Record.of(run) for run in all_runs(outputs / "runs") if run.manifest["stage"] == "tune"]
    assert len({record.config["start"]["run"] for record in tuned}) == 3
    assert differing(tuned) == {"seed", "start.directory"}
    (arm,) = compare(tuned).arms
    assert [record.seed for record in arm.runs] == [1, 2, 3]
    section = chain(compare(tuned))
    (table,) = section.parts
    assert [row[3:6] for row in table.rows] == [[640, 320, 960]] * 3
    assert [row[2] for row in table.rows] == [" > ".join(chain_of(record.run)) for record in arm.runs]


@pytest.mark.slow
def test_reproduce_follows_the_chain(train, outputs, lmlab):
    train("seed=1")
    runs = by_stage(outputs)
    said = lmlab("reproduce", f"run={runs['tune'].id}", "progress=false").stdout
    assert said.count("The final weights are identical bit for bit.") == 2
    again = {run.path.name: run for run in all_runs(outputs / "runs")}
    child = again[f"{runs['tune'].path.name}-2"]
    assert child.manifest["start"]["run"] == f"{runs['pretrain'].id}-2" and child.manifest["stage"] == "tune"
    alone = lmlab("reproduce", f"run={runs['tune'].id}", "parents=false", "progress=false").stdout
    assert alone.count("bit for bit") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages.tnue.seed=2"], "stages.tnue: no such stage (did you mean 'tune'?)"),
        (
            ["stages.tune.start.run=pretran"],
            "stages.tune: start.run=pretran: neither an earlier stage nor a run (did you ",
        ),
        (
            ["stages.tune.start.run=tune"],
            "stages.tune: start.run=tune: is the stage itself; expected an earlier one (cho",
        ),
        (
            ["stages.pretrain.start.run=tune"],
            "stages.pretrain: start.run=tune: is a later stage; expected an earlier one",
        ),
        (["stages.tune=5"], "stages.tune=5: expected a list of overrides, as [optimizer.lr=1e-4]"),
        (["start.run=3f9a"], "start.run=3f9a: each stage sets its own (stages.pretrain.start.run=3f9a)"),
        (
            ["scheduler=linear"],
            "scheduler=linear: decided by stages.pretrain and stages.tune (stages.tune.scheduler=lin",
        ),
        (
            ["stages.tune.model.width=32"],
            "stages.tune: model.width=32 (there 16): the weights of start.run=pretrain do",
        ),
        (
            ["stages.tune.tokenizer=character"],
            "stages.tune: tokenizer: its tokens are not those of start.run=pretrain (",
        ),
        (
            ["stages.tune.optimizer=sgd"],
            "stages.tune: optimizer: start.optimizer=true needs that of start.run=pretrain",
        ),
        (["stages.tune.optmizer.lr=1"], "stages.tune: optmizer.lr: no such option (did you mean 'optimizer.lr'?)"),
        (["stages.tune.optimizer.lr=1,2"], "stages.tune.optimizer.lr=1,2: several values need -m"),
        (
            ["stages.tune.experiment=recall"],
            "stages.tune: experiment=recall is for the whole command, not for one stage",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(words, message, train, outputs):
    done = train("seed=1", *words, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"lmlab train: {message}"), done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(all_runs(outputs / "runs"))


def test_an_option_of_a_stage_needs_stages(lmlab):
    done = lmlab("train", "stages.tune.seed=2", check=False)
    assert done.stderr == "lmlab train: stages.tune.seed=2: there are no stages (an experiment declares them)\n"


def test_plan_sums_what_the_stages_take(train, compose):
    said = json.loads(train("device=h100", "format=json", command="plan").stdout)
    assert {name: plan["tokens"] for name, plan in said["stages"].items()} == {"pretrain": 640, "tune": 320}
    table = train("device=h100", "price=2e9", command="plan").stdout
    cells = {
        line.split()[0]: line.split() for line in table.splitlines() if line.startswith(("pretrain", "tune", "all "))
    }
    cost = {name: float(row[-2].replace(",", "")) for name, row in cells.items()}
    assert (
        cost["all"] == pytest.approx(cost["pretrain"] + cost["tune"], abs=0.02) and cost["pretrain"] > cost["tune"] > 0
    )


def test_options_of_a_stage_come_behind_its_list():
    changes = {"tune": {"optimizer": {"_value_": "sgd", "lr": {"_value_": 0.1}}, "model$mixer": {"_value_": "gru"}}}
    words = words_of({"first": ["seed=2"], "tune": ["optimizer.lr=1"], "_changed_": changes})
    assert words == {
        "first": ["seed=2"],
        "tune": ["optimizer.lr=1", "optimizer=sgd", "optimizer.lr=0.1", "mixer=gru"],
    }
    with pytest.raises(UserError, match="several values"):
        words_of({"a": ["seed=1,2"]})
