"""The dashboard beside a sweep that trains: one run is stopped, then the sweep; both are gone on with."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from processes import MARK, assert_none_left, new_mark, wait_until

from lmlab.runs.lookup import all_runs
from lmlab.sweeps.sweep import find_sweep

pytest.importorskip("uvicorn", reason="needs the extra: pip install 'lmlab[report]'")
pytestmark = pytest.mark.slow

SLOW = """
import time
from pathlib import Path
import pytorch_lightning as pl

class Slow(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not Path("hurry").exists():
            time.sleep(0.5)
"""


def test_runs_and_sweeps_are_stopped_and_gone_on_with(small_task, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    mark, outputs = new_mark(), tmp_path / "outputs"
    environment = os.environ | {"LMLAB_OUTPUTS": str(outputs), MARK: mark}
    begin = lambda *words: subprocess.Popen(  # noqa: E731
        [sys.executable, "-m", "lmlab", *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    words = ["hydra/launcher=parallel", "hydra.launcher.workers=2", "logger=[]", "+callbacks.own._target_=slow.Slow"]
    sweep = begin("train", "-m", *words, *small_task, "budget.tokens=25_600", "seed=1,2")
    dashboard = begin("dashboard", "port=0")
    try:
        address = re.search(r"http://\S+/", dashboard.stdout.readline())[0]

        def rows() -> dict[int, dict]:
            with urllib.request.urlopen(f"{address}api/update", timeout=30) as answer:
                return {row["seed"]: row | {"key": key} for key, row in json.load(answer)["runs"].items()}

        def act(action: str, **content: str) -> str:
            headers = {"origin": address.rstrip("/"), "content-type": "application/json"}
            request = urllib.request.Request(f"{address}api/{action}", json.dumps(content).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)["said"]
            except urllib.error.HTTPError as error:
                return json.load(error)["error"]

        def status(seed: int) -> str:
            return rows()[seed]["status"]

        wait_until(lambda: [row["status"] for row in rows().values()] == ["running"] * 2, "both runs begin")
        wait_until(lambda: all((row["step"] or 0) >= 2 for row in rows().values()), "both runs make steps")
        before = rows()
        assert 0 < before[1]["done"] < 1 and before[1]["left"] > 0
        assert "is stopping" in act("stop", run=before[1]["key"])
        wait_until(lambda: status(1) == "interrupted", "the run is stopped")
        assert status(2) == "running", "and no other"
        assert "its state is saved" in rows()[1]["error"]
        (name,) = [folder.name for folder in (outputs / "sweeps").iterdir()]
        assert "is stopping" in act("stop_sweep", sweep=name)
        assert sweep.wait(180) != 0
        wait_until(lambda: status(2) == "interrupted", "the sweep is stopped")
        (tmp_path / "hurry").touch()
        assert "is restarting" in act("retry", run=before[1]["key"])
        wait_until(lambda: status(1) == "finished", "the run is gone on with")
        assert status(2) == "interrupted"
        assert "is restarting" in act("retry_sweep", sweep=name)
        wait_until(lambda: status(2) == "finished", "the sweep is gone on with")
        runs = {run.manifest["seed"]: run for run in all_runs(outputs / "runs")}
        stories = {seed: [attempt["status"] for attempt in run.manifest["attempts"]] for seed, run in runs.items()}
        assert stories == {seed: ["interrupted", "finished"] for seed in (1, 2)}
        found = find_sweep(None, outputs / "sweeps")
        wait_until(lambda: found.status == "finished", "the sweep ends")
        assert [job.status for job in found.jobs] == ["finished"] * 2
    finally:
        for process in (sweep, dashboard):
            process.terminate()
            process.communicate(timeout=60)
    assert_none_left(mark)
