"""Runs that are killed, and asked for again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run

pytestmark = pytest.mark.slow

LONG = ["budget.tokens=25_600", "validation.times=8", "callbacks.checkpoint.every=37", "log_every=3"]  # 400 steps
VARIANTS = {
    "lstm-carried-state": ["model=lstm", "batch.carry_state=true", "optimizer=adam"],
    "transformer-accumulation-dropout": ["model=transformer", "model.dropout=0.2", "trainer.accumulate=2"],
    "early-stopping": [
        "model=gpt2",
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=2",
        "optimizer.lr=0.0",
    ],
    "task": ["data=parity", "model=mamba2", "optimizer=muon"],
}


def start(arguments: list[str], outputs: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "lmlab", "train", *arguments],
        env=os.environ | {"LMLAB_OUTPUTS": str(outputs)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_step(outputs: Path, step: int, process: "subprocess.Popen[bytes]") -> Run:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be interrupted"
        for path in outputs.glob("runs/*/metrics.jsonl"):
            rows = read_jsonl(path)
            if rows and rows[-1]["step"] >= step:
                return Run(path.parent)
        time.sleep(0.01)
    raise AssertionError(f"step {step} was never reached")


def only_run(outputs: Path) -> Run:
    (manifest,) = outputs.glob("runs/*/run.json")
    return Run(manifest.parent)


def rows_without_times(run: Run) -> list[dict]:
    return [{name: value for name, value in row.items() if "time/" not in name} for row in read_jsonl(run.metrics)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_asked_for_again_ends_bit_identical(variant, lmlab, small, small_task, tmp_path):
    arguments = [*(small_task if variant == "task" else small), *LONG, *VARIANTS[variant], "logger=[]"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(undisturbed))
    for step in (60, 130):
        if variant == "early-stopping" and step > 100:
            break
        process = start(arguments, killed)
        run = wait_for_step(killed, step, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert run.status != "finished"
    done = lmlab("train", *arguments, LMLAB_OUTPUTS=str(killed))
    first, second = only_run(undisturbed), only_run(killed)
    assert first.path.name == second.path.name
    assert "goes on from its last checkpoint" in done.stdout
    assert len(second.manifest["attempts"]) >= 2
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert first.manifest["metrics"] == second.manifest["metrics"]
    assert rows_without_times(first) == rows_without_times(second)
    assert read_jsonl(first.samples) == read_jsonl(second.samples)
    for leftover in second.path.rglob(".*.tmp"):
        raise AssertionError(f"{leftover} was left behind")


def test_the_training_process_ends_when_only_its_parent_is_killed(small, tmp_path):
    process = start([*small, *LONG, "budget.tokens=2_560_000", "model=lstm", "logger=[]"], tmp_path)
    run = wait_for_step(tmp_path, 30, process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while run.is_locked():
        assert time.monotonic() < deadline, "an orphan still holds the run's lock"
        time.sleep(0.05)
    assert run.status == "interrupted"


def test_a_truncated_checkpoint_is_one_clear_message(lmlab, small, tmp_path):
    arguments = [*small, *LONG, "model=lstm", "logger=[]"]
    process = start(arguments, tmp_path / "outputs")
    run = wait_for_step(tmp_path / "outputs", 100, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    checkpoint = run.checkpoints / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done = lmlab("train", *arguments, check=False)
    assert done.returncode != 0
    assert "last.ckpt: the checkpoint cannot be read, it is cut short or damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert run.exists, "what was trained so far must not be deleted"
