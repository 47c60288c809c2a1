"""Kills at drawn moments of six kinds of runs: each, asked for again, ends as if nothing had happened."""

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from disturbed_runs import kill, only_run, rows_without_times, start

from lmlab.runs import checkpoints
from lmlab.runs.files import read_jsonl

pytestmark = pytest.mark.slow

STEPS = 240
LONG = ["budget.tokens=15_360", "validation.times=8", "callbacks.checkpoint.every=17", "log_every=3", "logger=[]"]
RUNS = {
    "lstm": ["model=lstm", "batch.carry_state=true", "optimizer=adam"],
    "mamba2": ["model=mamba2", "trainer.accumulate=2", "objective.label_smoothing=0.1"],
    "transformer": ["model=transformer", "model.dropout=0.2", "trainer.accumulate=2", "optimizer=muon"],
    "early-stopping": [
        "model=moe",
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=4",
        "optimizer.lr=0.0",
    ],
    "separate-documents": ["model=gru", "data.documents=line", "batch.documents=separate", "trainer.accumulate=2"],
    "two-ranks": ["model=gpt2", "model.dropout=0.1", "trainer=ddp", "trainer.accelerator=cpu"],
}
Reached = Callable[[Path], bool]


def anywhere(folder: Path) -> bool:
    """At once, to be killed after a delay: while it is starting, most of the time."""
    return True


def at_step(step: int) -> Reached:
    def reached(folder: Path) -> bool:
        rows = read_jsonl(folder / "metrics.jsonl")
        return bool(rows) and rows[-1]["step"] >= step

    return reached


def in_validation(step: int) -> Reached:
    """When a validation from ``step`` on has written its text: before or after its metrics, or the best weights."""
    return lambda folder: any(row["step"] >= step for row in read_jsonl(folder / "samples.jsonl"))


def while_writing(step: int) -> Reached:
    """When a checkpoint from ``step`` on is being written, or has just been."""

    def reached(folder: Path) -> bool:
        paths = [*folder.glob("checkpoints/.step-*.tmp"), *folder.glob("checkpoints/step-*")]
        return any(int(path.name.lstrip(".").split(".")[0][5:]) >= step for path in paths)

    return reached


def at_the_end(step: int) -> Reached:
    """When training has ended: before, while or after the final weights are written, or the manifest."""
    return lambda folder: (folder / "checkpoints" / f"step-{step:08d}").exists()


def kill_when(reached: Reached, delay: float, arguments: list[str], outputs: Path) -> bool:
    """Start the run, or go on with it, and kill all its processes; False if it was faster."""
    process = start(arguments, outputs)
    deadline = time.monotonic() + 240
    while process.poll() is None:
        assert time.monotonic() < deadline, "the moment was never reached"
        if reached(next((path.parent for path in outputs.glob("runs/*/run.json")), outputs)):
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=delay)
            break
        time.sleep(0.001)
    landed = process.poll() is None
    if landed:
        kill(process)
    return landed


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_four_moments_a_run_ends_as_an_undisturbed_one(name, lmlab, small, tmp_path):
    arguments = [*small, *LONG, *RUNS[name]]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    began = time.monotonic()
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(undisturbed))
    seconds = time.monotonic() - began
    expected = only_run(undisturbed)
    last = expected.manifest["training"]["stopped_at"]
    assert (last < STEPS) == (name == "early-stopping")

    draw = random.Random(name)
    kinds = [at_step, in_validation, while_writing]
    draw.shuffle(kinds)
    first, second, third = (
        kind(draw.randrange(last * part // 4, last * (part + 1) // 4)) for part, kind in enumerate(kinds, 1)
    )
    moments = [
        (anywhere, draw.uniform(0, seconds)),
        (first, draw.uniform(0, 0.02)),
        (second, 0.0),
        (draw.choice([third, at_the_end(last)]), draw.uniform(0, 0.01)),
    ]
    landed = [kill_when(reached, delay, arguments, killed) for reached, delay in moments]
    assert sum(landed) >= 2, "the run was too fast for this test"
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(killed))

    run = only_run(killed)
    assert run.path.name == expected.path.name and run.status == "finished"
    assert run.weights.read_bytes() == expected.weights.read_bytes()
    best = Path("checkpoints/best.safetensors")
    assert (run.path / best).read_bytes() == (expected.path / best).read_bytes()
    assert run.manifest["metrics"] == expected.manifest["metrics"]
    assert run.manifest["training"] == expected.manifest["training"]
    assert rows_without_times(run) == rows_without_times(expected)
    assert read_jsonl(run.samples) == read_jsonl(expected.samples)
    assert list(checkpoints.saved(run.checkpoints)) == list(checkpoints.saved(expected.checkpoints))
    for path in checkpoints.saved(run.checkpoints).values():
        checkpoints.verify(path)
    assert not list(run.path.rglob(".*.tmp"))
