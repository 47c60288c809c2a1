"""Runs that are killed, and asked for again."""

import shutil
import time

import pytest
from disturbed_runs import kill, only_run, rows_without_times, slowed, start, wait_for_step

from lmlab.runs import checkpoints
from lmlab.runs.files import read_jsonl

pytestmark = pytest.mark.slow

ENDING_BADLY = """
import os, signal
from lmlab.training.loggers import RunLogger

class Ends(RunLogger):
    name, version = "ends", 0

    def __init__(self, how, run):
        super().__init__()
        self.how = how

    def log_metrics(self, metrics, step=None):
        pass

    def finish(self, summary, exit_code):
        os.kill(os.getpid(), signal.Signals[self.how])
"""
LONG = ["budget.tokens=25_600", "validation.times=8", "callbacks.checkpoint.every=37", "log_every=3"]  # 400 steps


def test_a_killed_run_on_a_task_asked_for_again_ends_bit_identical(lmlab, small_task, tmp_path):
    arguments = [*small_task, *LONG, "model=mamba2", "optimizer=muon", "logger=[]", slowed(tmp_path)]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(undisturbed))
    for step in (60, 130):
        process = start(arguments, killed, folder=tmp_path, slow=0.02)
        run = wait_for_step(killed, step, process)
        kill(process)
        assert run.status == "interrupted"
    done = lmlab("train", *arguments, LMLAB_OUTPUTS=str(killed))
    first, second = only_run(undisturbed), only_run(killed)
    assert first.path.name == second.path.name
    assert "goes on from its last checkpoint" in done.stdout
    assert len(second.manifest["attempts"]) == 3
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
    deadline = time.monotonic() + 60
    while run.is_locked():
        assert time.monotonic() < deadline, "an orphan still holds the run's lock"
        time.sleep(0.05)
    assert run.status == "interrupted"


@pytest.mark.parametrize("how", ["SIGKILL", "SIGABRT", "SIGTERM"])
def test_what_a_process_dies_of_once_all_is_written_does_not_undo_it(how, lmlab, small_task, tmp_path):
    (tmp_path / "ending.py").write_text(ENDING_BADLY)
    own = ["logger=[]", "+logger.own._target_=ending.Ends", f"+logger.own.how={how}"]
    done = lmlab("train", *small_task, *own)
    run = only_run(tmp_path / "outputs")
    assert [attempt["status"] for attempt in run.manifest["attempts"]] == ["finished"] == [run.status]
    assert run.manifest["metrics"] and run.weights.exists()
    assert "accuracy" in done.stdout


def test_a_damaged_checkpoint_is_passed_over_and_two_are_one_clear_line(lmlab, small, tmp_path):
    arguments = [*small, *LONG, "model=lstm", "logger=[]", slowed(tmp_path)]
    undisturbed, outputs = tmp_path / "undisturbed", tmp_path / "outputs"
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(undisturbed))
    process = start(arguments, outputs, folder=tmp_path, slow=0.02)
    run = wait_for_step(outputs, 130, process)
    kill(process)
    *older, before, newest = checkpoints.saved(run.checkpoints).values()
    for path in older:  # there is one where the process was killed just before it removed it
        shutil.rmtree(path)
    state = newest / checkpoints.STATE
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)

    (before / checkpoints.CHECKSUMS).rename(tmp_path / "aside")
    refused = lmlab("train", *arguments, check=False)
    assert refused.returncode != 0
    assert f"{newest.name} is damaged: the content of state has changed; {before.name} is damaged: " in refused.stderr
    assert "Traceback" not in refused.stderr
    assert state.exists() and read_jsonl(run.metrics), "what was trained so far must not be deleted"

    (tmp_path / "aside").rename(before / checkpoints.CHECKSUMS)
    done = lmlab("train", *arguments)
    warning = f"{newest.name} is damaged: the content of state has changed; resuming from {before.name} instead"
    assert warning in done.stderr and warning in run.log.read_text()
    first = only_run(undisturbed)
    assert first.weights.read_bytes() == run.weights.read_bytes()
    assert rows_without_times(first) == rows_without_times(run)
    assert read_jsonl(first.samples) == read_jsonl(run.samples)
