"""Runs that are started as a user would, to be disturbed, and what must be equal in them afterwards."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run

SLOW = """
import os, time
import pytorch_lightning as pl

class Slow(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(float(os.environ.get("SLOW", 0)))
"""


def slowed(folder: Path) -> str:
    """An override, for commands given in ``folder``: a run waits ``SLOW`` seconds, of its environment, in every step.

    So there is time to disturb it on any machine, and it is the same run where nobody waits.
    """
    (folder / "slow.py").write_text(SLOW)
    return "+callbacks.slow._target_=slow.Slow"


def start(
    arguments: list[str],
    outputs: Path,
    stderr: int = subprocess.DEVNULL,
    folder: Path | None = None,
    slow: float = 0.0,
    **environment: str,
) -> "subprocess.Popen[bytes]":
    """Begin a training, in ``folder`` and ``slow`` as :func:`slowed` makes it."""
    return subprocess.Popen(
        [sys.executable, "-m", "lmlab", "train", *arguments],
        env=os.environ | {"LMLAB_OUTPUTS": str(outputs), "SLOW": str(slow)} | environment,
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill what was started, and all that it has started, at once; return when none of it is left."""
    deadline = time.monotonic() + 60
    while left := [pid for pid in _session(process.pid) if pid != process.pid or process.poll() is None]:
        assert time.monotonic() < deadline, f"{left} cannot be killed"
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    process.wait()


def _session(leader: int) -> list[int]:
    """The processes of a session that live, or of which a thread does."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and (state != "Z" or len(list(stat.parent.glob("task/*"))) > 1):
                found.append(int(stat.parent.name))
    return found


def wait_for_step(outputs: Path, step: int, process: "subprocess.Popen[bytes]") -> Run:
    deadline = time.monotonic() + 400
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
