"""Runs that go on from other runs, disturbed and on several ranks."""

import shutil

import pytest
from disturbed_runs import kill, only_run, rows_without_times, slowed, start, wait_for_step
from safetensors.torch import load_file

from lmlab.runs.files import read_jsonl

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
