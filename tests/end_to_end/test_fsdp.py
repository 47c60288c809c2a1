"""A run in shards: its curve is that of one device, and it goes on with any number of them, in shards or not."""

import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run

pytestmark = pytest.mark.slow

SHARDS = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2"]


def go_on(lmlab, arguments: list[str], run: Run, outputs: Path, **trainer: object) -> Run:
    """Copy ``run`` as it was at its last checkpoint but one, and have it finished with another ``trainer`` section."""
    name = run.path.name.removesuffix("-2")  # as if it were no second copy
    copy = Run(shutil.copytree(run.path, outputs / "runs" / name))
    shutil.rmtree(max(copy.checkpoints.glob("step-*")))
    copy.weights.unlink()
    copy.update(status="failed")
    config = copy.config
    config["trainer"] |= trainer
    (copy.path / "config.yaml").write_text(yaml.safe_dump(config))
    lmlab(
        "train", *arguments, *(f"trainer.{key}={value}" for key, value in trainer.items()), LMLAB_OUTPUTS=str(outputs)
    )
    assert len(copy.manifest["attempts"]) == 2
    return copy


def assert_same(run: Run, reference: Run) -> None:
    """Rows of metrics, samples and final weights are those of the reference, up to rounding."""
    rows, others = read_jsonl(run.metrics), read_jsonl(reference.metrics)
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for row, other in zip(rows, others, strict=True):
        clock = {name: value for name, value in row.items() if name.startswith("time/")}
        assert row == pytest.approx(other | clock, rel=1e-4)
    assert read_jsonl(run.samples) == read_jsonl(reference.samples)
    for file in ("model.safetensors", "checkpoints/best.safetensors"):
        weights, expected = load_file(run.path / file), load_file(reference.path / file)
        assert weights.keys() == expected.keys()
        for name, tensor in weights.items():
            assert (tensor - expected[name]).abs().max() < 1e-4


def test_a_run_in_shards_is_that_of_one_device_and_goes_on_anywhere(lmlab, small, tmp_path):
    """With state carried from batch to batch, which is cut anew for another number of ranks."""
    arguments = [*small, "model=lstm", "batch.carry_state=true", "logger=[]"]
    lmlab("train", *arguments)
    lmlab("train", *arguments, *SHARDS, "rerun=true")
    one, two = all_runs(tmp_path / "outputs" / "runs")
    assert_same(two, one)
    assert {path.name for path in max(two.checkpoints.glob("step-*")).glob("state/*.distcp")} == {
        "__0_0.distcp",
        "__1_0.distcp",
    }
    assert_same(go_on(lmlab, arguments, two, tmp_path / "four", strategy="fsdp", devices=4), one)
    assert_same(go_on(lmlab, arguments, two, tmp_path / "one", strategy="fsdp", devices=1), one)
    assert_same(go_on(lmlab, arguments, two, tmp_path / "whole", strategy="auto", devices=1), one)
    assert_same(go_on(lmlab, arguments, one, tmp_path / "shards", strategy="fsdp", devices=2), one)


def test_the_work_of_layers_can_be_shared_and_blocks_computed_twice(lmlab, small, tmp_path):
    arguments = [*small, "model=transformer", "model.dropout=0.1", "logger=[]"]
    lmlab("train", *arguments)
    shared = ["trainer.tensor_parallel=2", "trainer.activation_checkpointing=true", "rerun=true"]
    lmlab("train", *arguments, *SHARDS, *shared)
    one, two = all_runs(tmp_path / "outputs" / "runs")
    assert_same(two, one)
