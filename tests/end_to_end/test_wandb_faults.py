"""Whole runs beside a W&B server that is killed, away, or steers a sweep."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from disturbed_runs import slowed, start
from processes import wait_until

from lmlab.runs.files import read_jsonl
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.wandb.mirror import WandbRecord

sys.path.append(str(Path(__file__).parents[1]))
from wandb_server import ENTITY, wandb_server

pytestmark = pytest.mark.slow

SWEEP = Path(__file__).parents[2] / "scripts" / "wandb" / "sweep.yaml"


@pytest.fixture
def server():
    with wandb_server() as server:
        yield server


def only_run(folder: Path) -> Run:
    (run,) = all_runs(folder / "outputs" / "runs")
    return run


def steps_of(run: Run) -> list[int]:
    return sorted({row["step"] for row in read_jsonl(run.metrics)})


def services() -> set[int]:
    """The processes of wandb's service on this machine."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "comm").read_text().strip() == "wandb-core":
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def parent_of(process: int) -> int:
    try:
        return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def test_a_killed_run_that_is_asked_for_again_goes_on_as_the_same_w_and_b_run(lmlab, small, server, tmp_path):
    arguments = [*small, "model=lstm", "budget.tokens=64_000", "callbacks.checkpoint.every=37"]  # 1000 steps
    arguments.append(slowed(tmp_path))
    process = start(arguments, tmp_path / "outputs", folder=tmp_path, slow=0.05, **server.environment)
    rows = lambda: [row["step"] for path in tmp_path.glob("outputs/runs/*/metrics.jsonl") for row in read_jsonl(path)]  # noqa: E731
    wait_until(lambda: server.runs and rows() and rows()[-1] >= 80, "the run never got under way")
    worker = Heartbeat.read(only_run(tmp_path)).pid
    own = {service for service in services() if parent_of(service) == worker}
    assert len(own) == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not own & services(), "wandb's service outlives the run", 30)
    logged = rows()[-1]
    delivered = server.only_run.steps[-1:] or [0]
    assert delivered[0] < logged, "the kill came too late to leave anything undelivered"
    lmlab("train", *arguments, **server.environment)
    run = only_run(tmp_path)
    assert len(run.manifest["attempts"]) == 2
    assert server.only_run.steps == steps_of(run) == list(range(1, 1001))
    assert server.only_run.exit_code == 0
    assert WandbRecord(run).complete


def test_sync_sends_what_a_run_without_a_server_has_logged_and_repeats_nothing(lmlab, small, server, tmp_path):
    server.stop()
    done = lmlab("train", *small, "model=lstm", "logger.wandb.init_timeout=1", **server.environment)
    assert done.stderr.count("W&B") == 1, done.stderr
    run = only_run(tmp_path)
    assert f"W&B: offline so far   lmlab wandb sync run={run.id[:6]} sends the missing data" in done.stdout.replace(
        "\n", " "
    )
    failed = lmlab("wandb", "sync", "init_timeout=1", check=False, **server.environment)
    assert failed.returncode == 1 and "1 of 1 runs were not sent" in failed.stderr
    server.start()
    assert "10 rows of 1 runs" in lmlab("wandb", "sync", f"run={run.id[:6]}", **server.environment).stdout
    assert server.only_run.steps == steps_of(run) == list(range(1, 11))
    assert server.only_run.summary["validation/loss"] == run.manifest["metrics"]["validation/loss"]
    asked = len(server.requests)
    assert "Nothing to send: 1 of 1 runs are complete" in lmlab("wandb", "sync", **server.environment).stdout
    assert len(server.requests) == asked


def table_of(run, name: str) -> dict:
    """Return a table in the summary of a run at the server, as it was uploaded."""
    entry = run.summary[name]
    assert entry["_type"] == "table-file"
    return json.loads(run.files[entry["path"]])


def test_predictions_are_logged_offline_and_sent(lmlab, small, server, tmp_path):
    task = ["data=arithmetic", "data.digits=1", "data.longer=null", "data.length=4", "data.examples=50"]
    task += ["data.scored=10", "batch.context=16", "tokenizer=character"]
    others = [word for word in small if not word.startswith(("data", "tokenizer", "batch.context"))]
    server.stop()
    lmlab("train", *others, *task, "model=lstm", "logger.wandb.init_timeout=1", **server.environment)
    run = only_run(tmp_path)
    evaluate = ["evaluate", f"run={run.id}", "accelerator=cpu", "threads=1"]
    done = lmlab(*evaluate, **server.environment)
    assert f"lmlab wandb sync run={run.id[:6]} sends the predictions" in done.stdout.replace("\n", " ")
    server.start()
    lmlab("wandb", "sync", f"run={run.id[:6]}", **server.environment)
    rows = read_jsonl(run.path / read_jsonl(run.path / "evaluations.jsonl")[0]["predictions"]["file"])
    table = table_of(server.only_run, "predictions/arithmetic/validation")
    assert table["columns"] == ["number", "input", "prediction", "references", "exact_match"]
    assert [row[:4] for row in table["data"]] == [
        [row["number"], row["input"], row["prediction"], row["references"][0]] for row in rows
    ]
    # At once, beside the first, with the settings of decoding in its name.
    lmlab(*evaluate, "beams=2", **server.environment)
    name = "predictions/arithmetic/validation/beams=2 length_penalty=0.0 length=4"
    assert len(table_of(server.only_run, name)["data"]) == len(rows)
    score = read_jsonl(run.path / "evaluations.jsonl")[1]["metrics"]["answers"]["exact_match"]
    assert server.only_run.summary[f"evaluations/{name.partition('/')[2]}/exact_match"] == score
    assert WandbRecord(run).complete


def test_an_agent_finds_its_metric_in_the_run_that_it_announced(small, server, tmp_path):
    server.sweep_config = SWEEP.read_text()
    words = [word.split("=", 1) for word in [*small, "model=lstm", "optimizer.lr=0.002"]]
    values = {key: {"value": yaml.safe_load(value)} for key, value in words}
    server.commands = [[{"type": "run", "run_id": "announced", "program": "lmlab", "args": values}]]
    programs = str(Path(sys.executable).parent)
    environment = os.environ | server.environment | {"LMLAB_OUTPUTS": str(tmp_path / "outputs")}
    done = subprocess.run(
        [f"{programs}/wandb", "agent", "--count", "1", f"{ENTITY}/theirs/sweep"],
        env=environment | {"PATH": f"{programs}:{os.environ['PATH']}", "WANDB_AGENT_REPORT_INTERVAL": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert list(server.runs) == ["announced"], done.stdout + done.stderr
    run = only_run(tmp_path)
    assert run.config["optimizer"]["lr"] == 0.002
    assert server.only_run.attributes["sweep"] == "sweep" and server.only_run.project == "theirs"
    metric = yaml.safe_load(SWEEP.read_text())["metric"]["name"]
    assert server.only_run.summary[metric] == run.manifest["metrics"][metric]
    assert server.only_run.exit_code == 0
