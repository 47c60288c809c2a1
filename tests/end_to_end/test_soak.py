"""Two hundred runs in one sweep, of which a third goes wrong: each ends well or says why, and leaves nothing behind."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import Job, find_sweep

sys.path.append(str(Path(__file__).parents[1]))
from processes import MARK, assert_none_left, marked, new_mark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FAULTS = '''
import os, random, signal, time
from pathlib import Path
import pytorch_lightning as pl
import torch

KINDS = ["kill", "exit", "exception", "nan", "memory", "refuse"]

def fault_of(seed: int) -> tuple[str, bool]:
    """What goes wrong in a run, and whether only in its first attempt."""
    draw = random.Random(seed)
    if seed % 67 == 5:
        return "hang", True
    kind = draw.choice(KINDS) if draw.random() < 0.33 else "nothing"
    return kind, draw.random() < 0.6

class Goes(pl.Callback):
    """Goes wrong at step 2 of 4."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step != 2 or trainer.global_rank != trainer.world_size - 1:
            return
        kind, once = fault_of(pl_module.seed)
        flag = Path(f"faults-{pl_module.seed}")
        if kind == "nothing" or (once and flag.exists()):
            return
        flag.touch()
        if kind == "kill":
            os.kill(os.getpid(), 9)
        elif kind == "exit":
            os._exit(3)
        elif kind == "exception":
            raise RuntimeError("injected")
        elif kind == "refuse":
            from lmlab.errors import UserError
            raise UserError("injected=1: expected 2")
        elif kind == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        elif kind == "nan":
            for parameter in pl_module.parameters():
                parameter.data.fill_(float("nan"))
        elif kind == "hang":
            time.sleep(600)
'''
TINY = [
    *("data=parity", "model.width=8", "model.depth=1", "batch.size=4", "batch.context=16", "budget.tokens=256"),
    *("validation.times=2", "validation.tokens=64", "callbacks.samples.length=2", "data.longer=null", "log_every=1"),
    *("trainer.threads=1", "progress=false", "callbacks.watchdog.seconds=5", "execution.restarts=1"),
    "+callbacks.faults._target_=faults.Goes",
]
SAYS = {
    "kill": "SIGKILL",
    "exit": "exit code 3",
    "exception": "RuntimeError: injected",
    "nan": "the loss is nan",
    "memory": "memory",
    "refuse": "injected=1: expected 2",
    "hang": "made no progress",
}
GROWTH = 12_000_000
"""Bytes that the launcher may hold more while the last 50 of 200 runs end than while the second 50 do: 120 kB a run."""


class Sample(NamedTuple):
    ended: int
    descriptors: int
    memory: int


def sample(process: int, jobs: list[Job]) -> Sample:
    folder = Path(f"/proc/{process}")
    pages = int((folder / "statm").read_text().split()[1])
    ended = sum(job.status in ("finished", "failed") for job in jobs)
    return Sample(ended, len(list((folder / "fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE"))


def soak(words: list[str], folder: Path, kills: int) -> tuple[list[Job], set[str], list[Sample]]:
    """Conduct a sweep and kill so many of its processes from outside; return its jobs and whose runs were killed."""
    (folder / "faults.py").write_text(FAULTS)
    (folder / "tmp").mkdir()
    mark, draw = new_mark(), random.Random(0)
    own = {"LMLAB_OUTPUTS": str(folder / "outputs"), MARK: mark, "TMPDIR": str(folder / "tmp"), "WANDB_SILENT": "true"}
    command = [sys.executable, "-m", "lmlab", "train", "-m", "hydra/launcher=parallel", *words]
    killed, samples = set(), []
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, env=os.environ | own, cwd=folder, stdout=said, stderr=said)
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if not list(folder.glob("outputs/sweeps/*/jobs.json")):
                continue
            jobs = find_sweep(None, folder / "outputs" / "sweeps").jobs
            try:
                samples.append(sample(process.pid, jobs))
            except OSError:  # it is ending
                continue
            running = [job for job in jobs if job.status == "running" and job.path not in killed]
            if running and len(killed) < kills and draw.random() < 0.2:
                job = draw.choice(running)
                beat = Heartbeat.read(job.run)
                if beat is not None and beat.pid in marked(mark) and job.run.is_locked():
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(beat.pid, signal.SIGKILL)
                        killed.add(job.path)
        process.wait(timeout=60)
        assert_none_left(mark)
    finally:
        process.kill()
    assert "Traceback" not in (folder / "said").read_text()
    left = [path for path in (folder / "tmp").iterdir() if not path.name.startswith("torchinductor")]
    assert not left, "temporary files of runs that were killed"
    assert process.returncode == 1, "some failed"
    return find_sweep(None, folder / "outputs" / "sweeps").jobs, killed, samples


def check(jobs: list[Job], killed: set[str], folder: Path) -> None:
    sys.path.insert(0, str(folder))
    try:
        from faults import fault_of
    finally:
        sys.path.remove(str(folder))
        del sys.modules["faults"]
    for job in jobs:
        seed = int(dict(word.split("=") for word in job.overrides if word.startswith("seed="))["seed"])
        kind, once = fault_of(seed)
        story = f"seed {seed}: {kind}, once: {once}, killed: {job.path in killed}: {job.status} {job.error}"
        if kind == "refuse" and not (once and job.path in killed):  # its directory may be gone
            assert job.status == "failed", story
            assert SAYS[kind] in job.error or (job.path in killed and "SIGKILL" in job.error), story
            continue
        attempts = job.run.manifest["attempts"]
        assert attempts[-1]["status"] == job.status == job.run.status, story
        assert all(attempt["status"] == "failed" and attempt["error"] for attempt in attempts[:-1]), story
        told = [attempt["error"] for attempt in attempts if attempt["error"]]
        if job.path not in killed:
            survives = kind == "nothing" or (once and kind in ("kill", "exit", "memory", "hang"))
            assert (job.status == "finished") == survives, story
            assert all(SAYS[kind] in error for error in told), f"{story} {told}"
            if kind != "memory":
                assert len(attempts) == 1 + (kind in ("kill", "exit", "hang")), story
        elif job.status == "failed":
            assert any(what in error for error in told for what in (SAYS.get(kind, "SIGKILL"), "SIGKILL")), story
        if job.status == "finished":
            assert job.run.weights.exists() and job.run.manifest["training"]["stopped_at"] == 4, story
        else:
            assert job.error.startswith(attempts[-1]["error"]), story
    for run in all_runs(folder / "outputs" / "runs"):
        assert not run.is_locked()
        assert run.status_recorded != "running"
        assert not list(run.path.rglob(".*.tmp"))


@pytest.fixture
def folder():
    """A folder with a short name: Python's servers have sockets in it, whose paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        yield Path(name)


def test_two_hundred_runs_of_which_many_go_wrong(folder):
    began = time.monotonic()
    jobs, killed, samples = soak([*TINY, "trainer=cpu", "logger=[]", "seed=range(0,200)"], folder, kills=12)
    seconds = time.monotonic() - began
    assert len(jobs) == 200 and len(killed) >= 5
    check(jobs, killed, folder)
    early = [one for one in samples if 50 <= one.ended < 100]
    late = [one for one in samples if one.ended >= 150 and one.memory]  # none: it is ending
    print(f"{seconds:.0f} s, from {early[0]} to {late[-1]}")
    # What is held for a moment, as a run starts or a file is written, is no leak: a leak raises what is usual.
    assert median(one.descriptors for one in late) <= median(one.descriptors for one in early) + 2
    assert median(one.memory for one in late) - median(one.memory for one in early) < GROWTH


def test_runs_of_two_ranks_that_are_logged_to_w_and_b(folder):
    words = [*TINY, "trainer=ddp", "trainer.accelerator=cpu", "logger=[wandb]", "logger.wandb.mode=offline"]
    jobs, killed, _ = soak([*words, "seed=range(5,14)"], folder, kills=1)
    check(jobs, killed, folder)
    assert json.loads((jobs[1].run.path / "wandb.json").read_text())
