"""Runs that go on from other runs, disturbed and on several ranks."""

import shutil

import pytest
from disturbed_runs import kill, only_run, rows_without_times, slowed, start, wait_for_step
from safetensors.torch import load_file

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
ALONE = ["logger=[]", "callbacks.samples=null"]


@pytest.fixture
def arguments(small, tmp_path):
    """Arguments of a run that can be slowed."""
    return [*small, "model=lstm", "model.dropout=0.2", "callbacks.checkpoint.every=2", *ALONE, slowed(tmp_path)]


@pytest.mark.parametrize("ranks", [[], RANKS], ids=["one-rank", "two-ranks"])
def test_a_killed_child_ends_as_an_undisturbed_one_without_its_parent(ranks, lmlab, arguments, tmp_path):
    lmlab("train", *arguments, "scheduler=constant", LMLAB_OUTPUTS=str(tmp_path / "parents"))
    parent = only_run(tmp_path / "parents")
    goes_on = [*arguments, *ranks, f"start.run={parent.path}", "start.optimizer=true", "scheduler=cooldown"]
    lmlab("train", *goes_on, LMLAB_OUTPUTS=str(tmp_path / "undisturbed"))
    expected = only_run(tmp_path / "undisturbed")

    process = start(goes_on, tmp_path / "killed", folder=tmp_path, slow=0.5)
    run = wait_for_step(tmp_path / "killed", 5, process)
    kill(process)
    assert run.status == "interrupted"
    shutil.rmtree(parent.path)
    done = lmlab("train", *goes_on, LMLAB_OUTPUTS=str(tmp_path / "killed"))
    assert "goes on from its last checkpoint" in done.stdout
    assert run.status == "finished" and run.path.name == expected.path.name
    assert run.weights.read_bytes() == expected.weights.read_bytes()
    assert rows_without_times(run) == rows_without_times(expected)
    assert run.manifest["start"] == expected.manifest["start"]
    assert run.manifest["metrics"] == expected.manifest["metrics"]


def test_a_child_on_two_ranks_is_that_on_one(lmlab, arguments, tmp_path):
    arguments = [*arguments, "model.dropout=0"]  # masks are drawn for each rank
    lmlab("train", *arguments, "scheduler=constant", LMLAB_OUTPUTS=str(tmp_path / "parents"))
    parent = only_run(tmp_path / "parents")
    goes_on = [*arguments, f"start.run={parent.path}", "start.optimizer=true", "scheduler=cooldown"]
    losses, weights = [], []
    for name, ranks in (("one", []), ("two", RANKS)):
        lmlab("train", *goes_on, *ranks, LMLAB_OUTPUTS=str(tmp_path / name))
        child = only_run(tmp_path / name)
        losses.append([row["train/loss"] for row in read_jsonl(child.metrics) if "train/loss" in row])
        weights.append(load_file(child.weights))
    one, two = losses
    assert len(one) == len(two) == 10 and two == pytest.approx(one, rel=1e-4)
    for name, weight in weights[0].items():
        assert weights[1][name].numpy() == pytest.approx(weight.numpy(), abs=1e-4)


def test_an_experiment_goes_on_in_the_stage_in_which_it_was_killed(lmlab, arguments, tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    stages = "{pretrain: [scheduler=constant], tune: [start.run=pretrain, start.optimizer=true, budget.tokens=1280]}"
    (folder / "two.yaml").write_text(f"# @package _global_\nstages: {stages}\n")
    words = [f"--config-dir={tmp_path / 'conf'}", "experiment=two", *arguments]
    lmlab("train", *words, LMLAB_OUTPUTS=str(tmp_path / "undisturbed"))
    expected = {run.manifest["stage"]: run for run in all_runs(tmp_path / "undisturbed" / "runs")}

    for step, slow, stage in ((5, 0.5, "pretrain"), (13, 0.3, "tune")):  # the first has ten steps
        process = start(words, tmp_path / "killed", folder=tmp_path, slow=slow)
        run = wait_for_step(tmp_path / "killed", step, process)
        kill(process)
        assert (run.manifest["stage"], run.status) == (stage, "interrupted")
    done = lmlab("train", *words, LMLAB_OUTPUTS=str(tmp_path / "killed"))
    assert f"stage 1 of 2, pretrain: {expected['pretrain'].path.name} is finished" in done.stdout
    assert "goes on from its last checkpoint" in done.stdout
    for run in all_runs(tmp_path / "killed" / "runs"):
        undisturbed = expected.pop(run.manifest["stage"])
        assert run.path.name == undisturbed.path.name and run.manifest["metrics"] == undisturbed.manifest["metrics"]
        assert run.weights.read_bytes() == undisturbed.weights.read_bytes()
        assert rows_without_times(run) == rows_without_times(undisturbed)
    assert not expected
