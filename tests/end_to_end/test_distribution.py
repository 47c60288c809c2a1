"""One run on several processes, alone and in a sweep, and what happens when one of them dies."""

import json

import pytest
from safetensors.torch import load_file

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import all_sweeps

pytestmark = pytest.mark.slow

DIES = '''
import os
import pytorch_lightning as pl

class Dies(pl.Callback):
    """Ends rank 1 in the middle of the run with seed 1, as an out-of-memory killer would."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if pl_module.seed == 1 and trainer.global_rank == 1 and trainer.global_step == 3:
            os._exit(9)
'''

REMEMBERS = '''
from multiprocessing.util import Finalize
from pathlib import Path
import pytorch_lightning as pl
import torch

class Remembers(pl.Callback):
    """Writes down, as each rank ends, whether the rank is still connected to the others."""

    def on_train_start(self, trainer, pl_module):
        assert torch.distributed.is_initialized()
        path = Path(f"rank-{trainer.global_rank}")
        Finalize(None, lambda: path.write_text(str(torch.distributed.is_initialized())), exitpriority=0)
'''


def test_no_rank_is_still_connected_when_it_ends(lmlab, small, tmp_path):
    """Gloo's threads would sometimes abort the process then, after all the work is done."""
    (tmp_path / "remembering.py").write_text(REMEMBERS)
    (tmp_path / "own" / "callbacks").mkdir(parents=True)
    own = "defaults: [default]\nremembers: {_target_: remembering.Remembers}\n"
    (tmp_path / "own" / "callbacks" / "remembers.yaml").write_text(own)
    arguments = [*small, "model=lstm", "callbacks=remembers", "trainer=ddp", "trainer.accelerator=cpu", "logger=[]"]
    lmlab("train", "--config-dir", "own", *arguments)
    assert [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)] == ["False", "False"]


def test_two_ranks_at_half_the_batch_give_the_curve_of_one(lmlab, small, tmp_path):
    arguments = [*small, "model=transformer", "logger=[]"]
    lmlab("train", *arguments)
    lmlab("train", *arguments, "rerun=true", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    one, two = all_runs(tmp_path / "outputs" / "runs")
    first, second = read_jsonl(one.metrics), read_jsonl(two.metrics)
    assert [row["step"] for row in first] == [row["step"] for row in second]
    for row, other in zip(first, second, strict=True):
        assert other == pytest.approx(row | {name: other[name] for name in other if name.startswith("time/")}, rel=1e-4)
    assert "train/loss" in first[0]
    assert "validation/loss" in first[-1]
    weights, others = load_file(one.weights), load_file(two.weights)
    for name, tensor in weights.items():
        assert (tensor - others[name]).abs().max() < 1e-4


def test_a_rank_that_dies_fails_its_run_and_the_sweep_goes_on(lmlab, small, tmp_path):
    (tmp_path / "dying.py").write_text(DIES)
    (tmp_path / "own" / "callbacks").mkdir(parents=True)
    (tmp_path / "own" / "callbacks" / "dies.yaml").write_text("defaults: [default]\ndies: {_target_: dying.Dies}\n")
    arguments = [*small, "model=lstm", "callbacks=dies", "trainer=ddp", "trainer.accelerator=cpu", "seed=1,2"]
    done = lmlab("train", "-m", "--config-dir", "own", *arguments, check=False)
    assert done.returncode == 1
    assert "failed: seed=1: rank 1 died" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    status = {run.manifest["seed"]: run.status for run in all_runs(tmp_path / "outputs" / "runs")}
    assert status == {1: "failed", 2: "finished"}
    (sweep,) = all_sweeps(tmp_path / "outputs" / "sweeps")
    assert [job.status for job in sweep.jobs] == ["failed", "finished"]
    finished = next(run for run in all_runs(tmp_path / "outputs" / "runs") if run.manifest["seed"] == 2)
    assert len(list((finished.path / "wandb").glob("offline-run-*"))) == 1, "one W&B run, whatever the number of ranks"
    assert json.loads((finished.path / "wandb.json").read_text())["id"].startswith(f"{finished.id}-")
