"""What was logged is what can be read back."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disturbed_runs import slowed, start, wait_for_step

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.wandb.mirror import recorded_rows

pytestmark = pytest.mark.slow


def read_offline(run_folder: Path) -> list[dict]:
    """The records of a W&B offline file, as wandb's own reader gives them."""
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(run_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_the_offline_wandb_file_and_tensorboard_hold_the_history_of_the_run(lmlab, small, tmp_path):
    pytest.importorskip("tensorboard")
    lmlab("train", *small, "model=lstm", "logger=[wandb,tensorboard]", "tags=[first,second]")
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    rows = read_jsonl(run.metrics)
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    records = read_offline(folder)
    history = wandb_history(records)
    for row in recorded_rows(run):  # of one step, the row of its training and that of its validation together
        sent = history[row["step"]]
        for name in row.keys() - {"samples"}:
            assert sent[name] == pytest.approx(row[name]), (row["step"], name)
    (about,) = (record["run"] for record in records if record["type"] == "run")
    assert about["run_id"].startswith(f"{run.id}-")
    assert about["tags"] == ["first", "second"]
    assert about["config"]["update"]["model"]["width"] == 16
    assert any(record["type"] == "artifact" and "samples" in record["artifact"]["name"] for record in records)
    summary = {k: v for update in summaries(records) for k, v in update.items()}
    assert summary["validation/loss"] == run.manifest["metrics"]["validation/loss"]
    (end,) = (record["exit"] for record in records if record["type"] == "exit")
    assert end.get("exit_code", 0) == 0

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("validation/loss")}
    assert losses == pytest.approx({row["step"]: row["validation/loss"] for row in rows if "validation/loss" in row})


def summaries(records: list[dict]) -> list[dict]:
    """Updates of the summary, in order; a record may have none."""
    return [record["summary"].get("update", {}) for record in records if record["type"] == "summary"]


def wandb_history(records: list[dict]) -> dict[int, dict]:
    """Rows of the history by step."""
    return {
        record["history"]["step"]["num"]: record["history"]["item"] for record in records if record["type"] == "history"
    }


def test_a_run_that_a_search_stops_has_not_failed_at_wandb(small, tmp_path):
    outputs = tmp_path / "outputs"
    process = start([*small, "model=lstm", slowed(tmp_path)], outputs, folder=tmp_path, slow=0.3)
    run = wait_for_step(outputs, 4, process)
    run.announce_pruning("loss=3")
    process.send_signal(signal.SIGTERM)
    process.wait()
    (folder,) = (run.path / "wandb").glob("offline-run-*")
    records = read_offline(folder)
    (end,) = (record["exit"] for record in records if record["type"] == "exit")
    assert end.get("exit_code", 0) == 0
    assert "pruned" in [update.get("status") for update in summaries(records)]
    assert run.status == "interrupted"
    run.mark_pruned("loss=3")
    assert run.status == "pruned" and not run.pruned.exists()
