"""Run directories as earlier versions wrote them: version 0, before manifests had such a number, and version 1."""

import json
import shutil
import statistics
from pathlib import Path

import pytest

from lmlab.config.check import validate
from lmlab.config.identity import identity
from lmlab.runs.run import Run
from lmlab.training.load import load_trained

RUN = "1c3ec1509b"


@pytest.mark.slow
def test_an_older_run_is_listed_evaluated_generated_from_and_reproduced(lmlab, tmp_path):
    folder = tmp_path / "outputs" / "runs"
    old = Run(folder / f"lstm-parity-{RUN}")
    shutil.copytree(Path(__file__).parent / "version_0", old.path)
    manifest = (old.path / "run.json").read_bytes()

    newer = folder / "lstm-parity-newer"
    newer.mkdir()
    fields = old.manifest | {"version": 99, "id": "newer"}
    (newer / "run.json").write_text(json.dumps(fields))

    done = lmlab("runs", "format=json")
    (row,) = json.loads(done.stdout[done.stdout.index("[") :])
    assert row["id"] == RUN and row["accuracy"] == 0.53125
    said = "".join((done.stdout + done.stderr).split())
    assert f"leftout:{newer}:writteninversion99" in said and "bylmlab0.1.0;thislmlabreadsversionsupto2,so" in said

    lmlab("evaluate", f"run={RUN}")
    (evaluated,) = (json.loads(line) for line in (old.path / "evaluations.jsonl").read_text().splitlines())
    assert evaluated["metrics"]["answers"]["loss"] == pytest.approx(row["loss"], rel=0.1)  # of all, not of four

    lmlab("generate", f"run={RUN}", "length=4")
    lmlab("reproduce", f"run={RUN}", "tolerance=1e-3", "progress=false")
    assert (old.path / "run.json").read_bytes() == manifest


VERSION_1 = Path(__file__).parent / "version_1"
"""A folder that runs of version 1 were computed in: a sweep of two arms, an average of weights, a run and one that goes
on from it, a task, and a run of every architecture without its checkpoints."""

RUNS = {path.name.rpartition("-")[0]: path.name for path in sorted((VERSION_1 / "outputs" / "runs").iterdir())}
ARCHITECTURES = [name for name in RUNS if name.startswith("model-")]
SWEEP = "2026-11-29_12-00-00-000000"


def recorded(path):
    return json.loads((path / "run.json").read_text())


def rows(path):
    return [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]


@pytest.fixture
def folder_1(tmp_path):
    """The folder of version 1, at another place than where it was written; returns that of its runs."""
    shutil.copytree(VERSION_1, tmp_path, dirs_exist_ok=True)
    return tmp_path / "outputs" / "runs"


@pytest.mark.parametrize("path", sorted((VERSION_1 / "outputs" / "runs").iterdir()), ids=lambda path: path.name)
def test_the_configuration_of_version_1_is_valid_and_has_its_id(path):
    config = Run(path).config
    validate(config)
    assert identity(config) == recorded(path)["identity"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != "model-hf"])
def test_the_weights_of_version_1_are_those_of_the_architecture_of_today(name):
    trained = load_trained(Run(VERSION_1 / "outputs" / "runs" / RUNS[name]), "final", "cpu", False)
    total = sum(parameter.numel() for parameter in trained.model.parameters())
    assert total == recorded(VERSION_1 / "outputs" / "runs" / RUNS[name])["sizes"]["parameters"]["total"]


@pytest.mark.slow
def test_all_of_version_1_are_listed_and_asked_for_again(lmlab, folder_1):
    done = lmlab("runs", "format=json")
    listed = json.loads(done.stdout[done.stdout.index("[") :])
    assert {row["id"] for row in listed} == {recorded(path)["id"] for path in folder_1.iterdir()}
    assert "left out" not in done.stdout + done.stderr
    assert f"{SWEEP}: finished" in lmlab("sweep", "status", f"name={SWEEP}").stdout
    for name in ("child", "task", "ema"):
        run = recorded(folder_1 / RUNS[name])
        lmlab("train", *run["provenance"]["command"][1:])
        assert recorded(folder_1 / RUNS[name]) == run
    assert {path.name for path in folder_1.iterdir()} == {path.name for path in (VERSION_1 / "outputs/runs").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_of_version_1_is_scored_as_it_was_and_generates(name, lmlab, folder_1):
    run = folder_1 / RUNS[name]
    lmlab("evaluate", f"run={run}", "threads=1")
    (row,) = rows(run)
    assert row["metrics"]["answers"]["loss"] == pytest.approx(recorded(run)["metrics"]["validation/loss"], rel=1e-4)
    done = lmlab("generate", f"run={run}", "prompt=0 1 1", "length=5", "threads=1")
    assert len(done.stdout.split()) == 8


@pytest.mark.slow
def test_text_runs_of_version_1_are_evaluated_generated_from_and_reproduced(lmlab, folder_1):
    (before,) = rows(folder_1 / RUNS["parent"])
    lmlab("evaluate", f"run={folder_1 / RUNS['parent']}", "split=test", "threads=1")
    after = rows(folder_1 / RUNS["parent"])[-1]
    assert after["settings"] == before["settings"]
    for way, scores in before["metrics"].items():
        assert after["metrics"][way] == pytest.approx(scores, rel=1e-4), way
    lmlab("evaluate", f"run={folder_1 / RUNS['ema']}", "checkpoint=ema", "metrics=[fixed_window]", "threads=1")
    (row,) = rows(folder_1 / RUNS["ema"])
    averaged = recorded(folder_1 / RUNS["ema"])["metrics"]["ema/loss"]
    assert row["metrics"]["fixed_window"]["loss"] == pytest.approx(averaged, rel=1e-4)
    lmlab("evaluate", f"run={folder_1 / RUNS['ema']}", "average=2", "threads=1")
    assert lmlab("generate", f"run={folder_1 / RUNS['child']}", "prompt=the cat", "length=5").stdout[:7] == "the cat"
    for name in ("transformer-text", "ema", "child", "task", "model-hybrid"):
        lmlab("reproduce", f"run={folder_1 / RUNS[name]}", "tolerance=1e-3", "progress=false")


@pytest.mark.slow
def test_a_run_of_today_goes_on_from_one_of_version_1(lmlab, folder_1):
    parent = recorded(folder_1 / RUNS["parent"])
    words = [word for word in parent["provenance"]["command"][1:] if not word.startswith(("name=", "scheduler="))]
    going_on = ["name=later", f"start.run={parent['id']}", "start.optimizer=true", "scheduler=cooldown"]
    lmlab("train", *words, *going_on, "budget.tokens=192")
    (later,) = folder_1.glob("later-*")
    assert recorded(later)["start"]["run"] == parent["id"] and recorded(later)["start"]["tokens"] == 640
    losses = [recorded(path)["metrics"]["validation/loss"] for path in (folder_1 / RUNS["parent"], later)]
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_a_sweep_of_version_1_is_reported_as_it_was(lmlab, folder_1):
    done = lmlab("report", f"runs={SWEEP}", "baseline=lstm", "formats=html")
    conclusion = next(line for line in done.stdout.splitlines() if line.startswith("On the validation split"))
    means = [
        statistics.mean(
            recorded(path)["metrics"]["validation/bits_per_byte"] for path in folder_1.glob(f"{arm}-text-*")
        )
        for arm in ("lstm", "transformer")
    ]
    assert all(f"{mean:.3f}" in conclusion for mean in means) and "3 paired seeds" in conclusion
