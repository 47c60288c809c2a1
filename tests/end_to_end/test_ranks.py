"""Ranks that hang, and ranks whose weights are no longer those of the others."""

import pytest

from lmlab.processes.stacks import hung
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

FAULTY = '''
import time
from pathlib import Path
import pytorch_lightning as pl
import torch

def first_time(name):
    """Whether no process said so before."""
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

class Hangs(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 3 and first_time("hung"):
            time.sleep(600)

class Flips(pl.Callback):
    """One bit of one weight on rank 1."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 3 and first_time("flipped"):
            pl_module.model.blocks[1].mixer.layer.weight_hh_l0.data.view(torch.int32)[5, 2] ^= 1 << 16
'''
RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "logger=[]", "callbacks.samples=null", "execution.restarts=0"]


@pytest.fixture
def with_fault(small, tmp_path):
    """Arguments of a small run on two ranks with a callback of :data:`FAULTY`."""

    def arguments(fault):
        (tmp_path / "faulty.py").write_text(FAULTY)
        (tmp_path / "own" / "callbacks").mkdir(parents=True)
        own = f"defaults: [default]\nfault: {{_target_: faulty.{fault}}}\n"
        (tmp_path / "own" / "callbacks" / "faulty.yaml").write_text(own)
        return ["--config-dir", "own", *small, "model=lstm", "callbacks=faulty", *RANKS]

    return arguments


def test_a_rank_that_hangs_is_ended_and_says_where_it_was(lmlab, with_fault, tmp_path):
    arguments = [*with_fault("Hangs"), "callbacks.watchdog.seconds=3"]
    done = lmlab("train", *arguments, check=False)
    assert done.returncode == 1
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    said = hung(run)
    assert said.startswith("rank 1 made no progress for 0:00:03 (rank 0 was in ")
    assert "rank 1 was in on_train_batch_start (" in said and "/faulty.py:" in said
    for rank in (0, 1):  # the end of the first must not keep the other from writing
        assert "Thread 0x" in (run.path / "stacks" / f"rank-{rank}.txt").read_text()
    assert Heartbeat.read(run).steps == 10
    lmlab("train", *arguments)
    assert run.status == "finished"
    assert said in done.stderr
    assert hung(run) is None and Heartbeat.read(run) is None


def test_a_flipped_bit_is_found_before_a_checkpoint_holds_it_and_the_run_goes_on(lmlab, with_fault, tmp_path):
    arguments = [*with_fault("Flips"), "callbacks.checkpoint.every=2", "validation.times=1", "execution.restarts=1"]
    done = lmlab("train", *arguments)
    said = "rank 1 differs from rank 0, first in model.blocks.1.mixer.layer.weight_hh_l0 (at step 4)"
    assert f"{said}; it goes on from its last checkpoint" in done.stderr
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert [(attempt["status"], attempt["error"]) for attempt in run.manifest["attempts"]] == [
        ("failed", said),
        ("finished", None),
    ]
    lmlab(
        "train", *[word for word in arguments if word not in ("callbacks=faulty", "--config-dir", "own")], "rerun=true"
    )
    undisturbed = next(other for other in all_runs(tmp_path / "outputs" / "runs") if other != run)
    assert run.weights.read_bytes() == undisturbed.weights.read_bytes()
