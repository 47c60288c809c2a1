"""A run on several nodes, each with its own command: here two on one machine, which share the outputs folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmlab.runs.files import read_jsonl
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

SLOW = """
import time
from pathlib import Path
import pytorch_lightning as pl

class Slow(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not Path("hurry").exists():
            time.sleep(2.0)
"""


@pytest.fixture
def node(small, tmp_path):
    """Start the command of one node of a run of two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "slow.py").write_text(SLOW)
    started = []

    def start(number: int, *overrides: str) -> subprocess.Popen:
        nodes = ["trainer.nodes=2", f"execution.rendezvous=127.0.0.1:{port}", f"execution.node={number}"]
        words = [*small, "model=lstm", "trainer.strategy=ddp", "logger=[]", *nodes, *overrides]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "lmlab", "train", *words],
                cwd=tmp_path,
                env=os.environ | {"LMLAB_OUTPUTS": str(tmp_path / "outputs")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def losses(run) -> list[float]:
    return [row["train/loss"] for row in read_jsonl(run.metrics) if "train/loss" in row]


def test_two_nodes_train_what_one_process_does(lmlab, node, small, tmp_path):
    lmlab("train", *small, "model=lstm", "logger=[]", LMLAB_OUTPUTS=str(tmp_path / "alone"))
    second = node(1)
    first = node(0)
    assert first.wait(400) == 0, first.stdout.read()
    assert second.wait(60) == 0, second.stdout.read()
    (alone,), (run,) = all_runs(tmp_path / "alone" / "runs"), all_runs(tmp_path / "outputs" / "runs")
    assert len(losses(run)) == 10
    assert losses(run) == pytest.approx(losses(alone), abs=1e-4)
    (attempt,) = run.manifest["attempts"]
    assert attempt["processes"] == 2
    # Whoever asks again gets what is recorded.
    assert node(1).wait(60) == 0


def ranks(of: subprocess.Popen) -> list[int]:
    """The processes below a node's command that know which rank they are."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    below, found = [of.pid], []
    while below:
        parent = below.pop()
        below += (new := children.get(parent, []))
        found += new
    leaves = [process for process in found if process not in children]
    return [process for process in leaves if "multiprocessing" in Path(f"/proc/{process}/cmdline").read_text()]


def until(condition, seconds: float = 240.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found


def test_a_rank_killed_on_the_second_node_is_a_fault_that_both_go_on_from(node, tmp_path):
    slow = ["+callbacks.slow._target_=slow.Slow", "callbacks.checkpoint.every=1"]
    first, second = node(0, *slow), node(1, *slow)
    runs = tmp_path / "outputs" / "runs"
    run = until(lambda: next(iter(all_runs(runs)), None))
    until(lambda: (beat := Heartbeat.read(run)) and beat.step >= 2)
    (killed,) = ranks(second)[-1:]
    os.kill(killed, signal.SIGKILL)
    (tmp_path / "hurry").touch()
    assert first.wait(400) == 0, first.stdout.read()
    assert second.wait(60) == 0, second.stdout.read()
    before, after = run.manifest["attempts"]
    assert (before["status"], before["error"]) == ("failed", "rank 1 was killed by SIGKILL")
    assert after["status"] == "finished"
    assert "rank 1 was killed by SIGKILL; it goes on from its last checkpoint" in first.stdout.read()
    assert len(losses(run)) == 10
