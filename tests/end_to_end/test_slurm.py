"""Runs as jobs of a SLURM cluster on this machine, which pushes them out, queues them again and ends their time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lmlab.runs.files import read_jsonl
from lmlab.runs.heartbeat import Heartbeat
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.sweeps.sweep import Sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm" / "local_cluster.sh"
SLOW = """
import os
import time
import pytorch_lightning as pl

class Slow(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(float(os.environ.get("SLOW", 0)))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which commands speak to the cluster."""
    if os.geteuid() != 0:
        pytest.skip("a cluster on this machine needs root")
    if not shutil.which("slurmctld") and not shutil.which("apt-get"):
        pytest.skip("SLURM is not installed, and there is no apt-get to install it with")
    state = Path(tempfile.mkdtemp(prefix="lmlab-slurm-"))  # where everyone may look, as munge wants it
    state.chmod(0o755)
    chosen = {"LMLAB_SLURM": str(state), "LMLAB_SLURM_PORT": "16827", "LMLAB_SLURM_CPUS": "32"}
    environment = os.environ | chosen | {"SLURM_CONF": str(state / "slurm.conf")}
    # Into a file: the cluster's daemons keep what they were started with open.
    with (tmp_path_factory.mktemp("up") / "log").open("w+") as log:
        up = subprocess.run([SCRIPT, "up"], env=environment, stdout=log, stderr=log, timeout=500, check=False)
        log.seek(0)
        said = log.read()
    try:
        if up.returncode != 0:
            pytest.skip(f"no SLURM cluster can be had here: {said.strip().splitlines()[-1]}")
        yield environment
    finally:
        subprocess.run([SCRIPT, "down"], env=environment, stdout=subprocess.DEVNULL, timeout=120, check=False)


@pytest.fixture
def launch(cluster, small, tmp_path):
    """Begin a command whose runs are jobs of the cluster and take ``slow`` seconds longer for each step."""
    (tmp_path / "slow.py").write_text(SLOW)
    started = []
    common = [*small, "model=lstm", "logger=[]", "+callbacks.slow._target_=slow.Slow", "hydra/launcher=slurm"]

    def begin(*overrides: str, slow: float = 0.0) -> subprocess.Popen:
        folder = f"hydra.sweep.dir={tmp_path}/outputs/sweeps/{len(started)}"  # those of one second would share one
        environment = cluster | {"LMLAB_OUTPUTS": str(tmp_path / "outputs"), "SLOW": str(slow), "COLUMNS": "200"}
        words = ["train", "-m", *common, folder, *overrides] if overrides[0] != "sweep" else overrides
        log = (tmp_path / f"command-{len(started)}.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "lmlab", *words], cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
        started.append((process, log))
        return process

    yield begin
    for process, log in started:
        process.kill()
        process.wait()
        log.seek(0)
        print(log.read())
        log.close()
    subprocess.run(["scancel", "--me", "--full", "--signal=KILL"], env=cluster, timeout=60, check=False)
    subprocess.run(["scancel", "--me"], env=cluster, timeout=60, check=False)


def until(condition, seconds: float = 240.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)
    return found


def run_of(outputs: Path, seed: int) -> Run | None:
    return next((run for run in all_runs(outputs / "runs") if run.config["seed"] == seed), None)


def at_work(run: Run | None, step: int = 2) -> bool:
    return run is not None and (beat := Heartbeat.read(run)) is not None and beat.step >= step


def job_of(run: Run) -> str:
    return json.loads((run.path / "slurm.json").read_text())["job"]


def results(run: Run) -> list[object]:
    rows = [{name: value for name, value in row.items() if "time/" not in name} for row in read_jsonl(run.metrics)]
    assert run.manifest["status"] == "finished"
    return [rows, read_jsonl(run.samples), run.weights.read_bytes()]


def test_jobs_that_are_disturbed_in_every_way_end_as_if_they_were_not(cluster, launch, lmlab, small, tmp_path):
    outputs = tmp_path / "outputs"
    sweep = launch("seed=1,2,3,4", slow=3.0)
    tasks = ["trainer.nodes=2", "hydra.launcher.tasks_per_node=2", "trainer.strategy=ddp"]
    nodes = launch("seed=5", *tasks, slow=3.0)
    low = launch("seed=6", "hydra.launcher.partition=low_grace", "hydra.launcher.cpus=16", slow=3.0)

    disturbances = {
        1: ["scancel", "--signal=USR1", "JOB"],
        2: ["scontrol", "requeue", "JOB"],
        5: ["scancel", "--signal=USR1", "JOB"],
        6: ["sbatch", "--partition=high", "--cpus-per-task=20", "--output=/dev/null", "--wrap=sleep 1"],
    }

    def disturb() -> bool:
        for seed in list(disturbances):
            if at_work(run := run_of(outputs, seed)):
                command = [job_of(run) if word == "JOB" else word for word in disturbances.pop(seed)]
                subprocess.run(command, env=cluster, check=True, timeout=60, capture_output=True)
        return not disturbances

    until(disturb)
    # When the others no longer take all cores for their start: of its minute, something is left for steps.
    limited = launch("seed=7", "hydra.launcher.time=1", "hydra.launcher.notice=5", slow=7.0)
    for process in (sweep, nodes, low, limited):
        assert process.wait(500) == 0
    told = {
        seed: [attempt.get("error") for attempt in run_of(outputs, seed).manifest["attempts"]] for seed in range(1, 8)
    }
    assert told[3] == told[4] == [None]
    for seed, by in {1: "SIGUSR1", 2: "SIGTERM", 5: "SIGUSR1", 6: "SIGTERM", 7: "SIGUSR2"}.items():
        assert by in told[seed][0] and len(told[seed]) >= 2 and told[seed][-1] is None, (seed, told[seed])
    alone = tmp_path / "alone"
    slow = "+callbacks.slow._target_=slow.Slow"
    common = [*small, "model=lstm", "logger=[]", slow]
    lmlab("train", "-m", *common, "seed=1,2,3,4,6,7", LMLAB_OUTPUTS=str(alone))
    lmlab("train", *common, "seed=5", "trainer.devices=2", "trainer.strategy=ddp", LMLAB_OUTPUTS=str(alone))
    for seed in range(1, 8):
        assert results(run_of(outputs, seed)) == results(run_of(alone, seed)), seed


def test_a_sweep_goes_on_with_the_jobs_of_a_killed_one_and_cancels_them_when_it_is_stopped(cluster, launch, tmp_path):
    outputs = tmp_path / "outputs"
    killed = launch("seed=8", "budget.tokens=6400", slow=6.0)  # ten minutes: for as long as anything below may take
    run = until(lambda: at_work(run := run_of(outputs, 8), step=1) and run)
    killed.kill()
    killed.wait()
    job = job_of(run)
    record = Sweep(outputs / "sweeps" / "0")
    (before,) = record.jobs
    again = launch("sweep", "resume")
    until(lambda: (now := record.jobs[0]).started != before.started and now.where == f"slurm job {job}")
    again.send_signal(signal.SIGINT)
    assert again.wait(240) != 0
    assert run.status == "interrupted"
    assert job_of(run) == job  # it was never submitted twice
    alive = ["squeue", "--me", "--noheader"]
    until(lambda: not subprocess.run(alive, env=cluster, capture_output=True, timeout=60, check=True).stdout.strip())
    (attempt,) = run.manifest["attempts"]
    assert attempt["error"] == "told to stop by SIGTERM"
    assert launch("sweep", "resume").wait(240) == 0
    assert job_of(run) != job
    assert run.status == "finished" and len(run.manifest["attempts"]) == 2
