"""Training processes that are told to stop, at any moment, and started again."""

import json
import os

import pytest

from lmlab.commands.train import create
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import directory_for
from lmlab.runs.run import Run
from lmlab.training.preflight import check

pytestmark = pytest.mark.slow

SENDS = '''
import os
import signal
from pathlib import Path
import pytorch_lightning as pl

class Sends(pl.Callback):
    """Sends a rank a signal at one moment: SEND says "moment step rank signal", for several of them with commas."""

    def __init__(self):
        self.plan = [line.split() for line in os.environ.get("SEND", "").split(",") if line]
        self.send("built", 0)

    def send(self, moment, step):
        for line in list(self.plan):
            if line[:3] == [moment, str(step), os.environ.get("RANK", "0")]:
                self.plan.remove(line)
                os.kill(os.getpid(), signal.Signals[line[3]])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.send("step", trainer.global_step)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.send("average" if dataloader_idx else "validation", trainer.global_step)

    def on_validation_end(self, trainer, pl_module):
        self.send("validated", trainer.global_step)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.send("saving", trainer.global_step)

    def on_train_end(self, trainer, pl_module):
        self.send("trained", trainer.global_step)
'''


@pytest.fixture
def prepare(compose, small, tmp_path, monkeypatch):
    """Lay out the run directory of a small run whose callback sends it signals."""
    (tmp_path / "sending.py").write_text(SENDS)
    monkeypatch.chdir(tmp_path)
    sends = "+callbacks.sends._target_=sending.Sends"

    def prepared(name: str, *overrides: str) -> Run:
        arguments = [*small, "logger=[]", "execution.restarts=0", sends, *overrides]
        config = compose(*arguments, outputs=tmp_path / name)
        run = directory_for(config)
        create(run, config, data=check(config).describe())
        return run

    return prepared


EXECUTE = """
import sys
from pathlib import Path
from lmlab.processes.supervisor import execute
from lmlab.runs.run import Run

execute(Run(Path(sys.argv[1])), print)
"""


@pytest.fixture
def work(command_line, tmp_path):
    """Execute a run, whose processes send themselves what ``send`` says; return the exit code."""
    # As if a step of a SLURM job had started it as its second process of several.
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_NTASKS": "4", "SLURM_PROCID": "1"}

    def worked(run: Run, send: str = "") -> int:
        environment = os.environ | slurm | {"SEND": send}
        return command_line.run([str(run.path)], tmp_path, environment, tmp_path, program=EXECUTE).returncode

    return worked


def why(run: Run) -> tuple[str, str]:
    reason = json.loads(run.error.read_text())
    return reason["kind"], reason["message"]


def results(run: Run) -> list[object]:
    rows = [{name: value for name, value in row.items() if "time/" not in name} for row in read_jsonl(run.metrics)]
    best = (run.checkpoints / "best.safetensors").read_bytes()
    manifest = run.manifest
    recorded = (manifest["metrics"], manifest["training"])
    assert manifest["status"] == "finished"
    assert not list(run.path.rglob(".*.tmp"))
    ema = run.ema.read_bytes() if run.ema.exists() else None
    return [recorded, rows, read_jsonl(run.samples), run.weights.read_bytes(), best, ema]


def test_stopped_at_every_kind_of_moment_it_ends_as_if_undisturbed(prepare, work):
    options = ["model=lstm", "batch.carry_state=true", "optimizer=nt_asgd", "optimizer.patience=1", "optimizer.lr=99.0"]
    options += ["scheduler=plateau", "callbacks=ema", "validation.share=null"]
    undisturbed, run = prepare("undisturbed", *options), prepare("disturbed", *options)
    assert work(undisturbed) == 0
    rates = [row["train/learning_rate"] for row in read_jsonl(undisturbed.metrics) if "train/learning_rate" in row]
    assert len(set(rates)) > 2, "the schedule should reduce the learning rate more than once"
    for send, message in {
        "built 0 0 SIGTERM": "told to stop by SIGTERM before training began",
        "step 2 0 SIGUSR1,step 2 0 SIGTERM": "told to stop by SIGUSR1 at step 3; its state is saved",
        "validation 4 0 SIGUSR2": "told to stop by SIGUSR2 at step 4; its state is saved",
        "validated 4 0 SIGINT": "told to stop by SIGINT at step 4; its state is saved",
        "saving 6 0 SIGTERM": "told to stop by SIGTERM at step 7; its state is saved",
        "average 8 0 SIGTERM": "told to stop by SIGTERM at step 8; its state is saved",
        "validation 10 0 SIGTERM": "told to stop by SIGTERM at step 10; its state is saved",
    }.items():
        assert work(run, send) != 0
        assert why(run) == ("Interrupted", message)
        validated = [row["step"] for row in read_jsonl(run.metrics) if "validation/loss" in row]
        assert validated == [row["step"] for row in read_jsonl(run.samples)]
        moment, step = send.split()[:2]
        assert moment not in ("validation", "average") or int(step) not in validated
    assert work(run, "validation 10 0 SIGTERM") != 0
    assert work(run) == 0
    assert results(run) == results(undisturbed)


def test_a_validation_that_was_given_up_can_end_the_run(prepare, work):
    """And a process that is killed after it made up for one leaves no row twice."""
    options = ["model=transformer", "model.dropout=0.2", "trainer.accumulate=2", "callbacks=early_stopping"]
    options += ["callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=9", "budget.tokens=1280"]
    undisturbed, run = prepare("undisturbed", *options), prepare("disturbed", *options)
    assert work(undisturbed) == 0
    assert undisturbed.manifest["training"]["stopped_at"] == 12 < undisturbed.manifest["training"]["steps"]
    assert work(run, "validation 8 0 SIGTERM") != 0
    assert work(run, "step 9 0 SIGKILL") != 0
    assert work(run, "validation 12 0 SIGTERM") != 0
    assert why(run) == ("Interrupted", "told to stop by SIGTERM at step 12; its state is saved")
    assert work(run, "trained 12 0 SIGTERM") != 0  # before the validation of all, which comes last
    assert why(run) == ("Interrupted", "told to stop by SIGTERM at step 12; its state is saved")
    assert work(run) == 0
    assert results(run) == results(undisturbed)


def test_all_ranks_stop_at_the_same_step(prepare, work):
    options = ["model=lstm", "trainer=ddp", "trainer.accelerator=cpu", "validation.times=2", "validation.tokens=512"]
    options += ["validation.share=null"]  # several batches, in one of which only one rank is told
    undisturbed, run = prepare("undisturbed", *options), prepare("disturbed", *options)
    assert work(undisturbed) == 0
    assert work(run, "step 1 1 SIGUSR1,step 2 0 SIGUSR2") != 0
    assert why(run) == ("Interrupted", "told to stop by SIGUSR1 at step 3; its state is saved")
    assert work(run, "validation 5 1 SIGTERM") != 0  # one rank only
    assert why(run) == ("Interrupted", "told to stop by SIGTERM at step 5; its state is saved")
    assert not any("validation/loss" in row for row in read_jsonl(run.metrics))
    assert work(run, "validated 10 0 SIGTERM") == 0  # too late
    assert results(run) == results(undisturbed)
