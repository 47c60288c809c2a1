"""What is submitted to SLURM, held against commands that stand in for it: the end-to-end tests have a real one."""

import pytest
from experiments import SECTIONS

from lmlab.errors import UserError
from lmlab.runs.run import Run
from lmlab.sweeps.engines import slurm
from lmlab.sweeps.sweep import Job

pytest.importorskip("submitit", reason="needs the extra: pip install 'lmlab[slurm]'")

# Takes no more jobs of a user than the file `limit` says; the queue is a file of what squeue prints.
COMMANDS = {
    "sbatch": """
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
count=$((${last:-0} + 1))
echo $count >> offered
if [ $(($(wc -l < queue) + count)) -gt $(cat limit) ]; then
    echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
    exit 1
fi
id=$(($(wc -l < queue) + 10))
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
if [ $count = 1 ]; then echo "$id RUNNING $name" >> queue; fi
if [ $count != 1 ]; then for task in $(seq 0 $last); do echo "${id}_$task RUNNING $name" >> queue; done; fi
echo "Submitted batch job $id"
""",
    "squeue": "cat queue",
    "scancel": "true",
    "srun": "true",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with the cluster's files."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
        (folder / name).chmod(0o755)
    for name in ("queue", "offered"):
        (folder / name).touch()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for pause in ("_BETWEEN_LOOKS", "_PATIENCE"):
        monkeypatch.setattr(slurm, pause, 0.0)
    return folder


@pytest.fixture
def engine(cluster, tmp_path):
    engine = slurm.Slurm()
    for number in range(7):
        run = Run(tmp_path / "runs" / f"lstm-text-{number}")
        run.create(SECTIONS | {"name": "lstm-text", "seed": 1, "tags": [], "model": {}}, "abc")
        job = Job(number, [f"seed={number}"])
        job.path = str(run.path)
        engine.submit(job)
    return engine


def offered(cluster):
    found = [int(line) for line in (cluster / "offered").read_text().split()]
    (cluster / "offered").write_text("")
    return found


def test_what_a_cluster_refuses_for_now_is_offered_again_and_leaves_nothing_behind(
    cluster, engine, monkeypatch, capsys, tmp_path
):
    (cluster / "limit").write_text("3")
    assert engine.poll(0) == []
    assert offered(cluster) == [7, 3]
    engine.poll(0)
    assert offered(cluster) == [], "not again so soon"
    monkeypatch.setattr(slurm, "_REFUSED", 0.0)
    engine.poll(0)
    assert offered(cluster) == [4, 2, 1]
    said = capsys.readouterr().err
    assert said.startswith("SLURM accepts none of 4 jobs now (Batch job submission failed: Job violates")
    first, *others = (cluster / "queue").read_text().splitlines()
    (cluster / "queue").write_text("".join(f"{line}\n" for line in others))
    job = engine._submitted[0].job
    assert first.startswith(job.where.removeprefix("slurm job "))
    job.run.update(status="finished")
    assert engine.poll(0) == [job]
    assert job.status == "finished"
    assert offered(cluster) == [4, 2, 1]
    assert len((cluster / "queue").read_text().splitlines()) == 3
    left = [
        path.name for path in (tmp_path / "slurm").iterdir() if path.suffix in (".pkl", ".sh") and not path.is_symlink()
    ]
    assert len(left) == 4 + 2, f"a call for each job and a script for each array: {left}"


def test_a_cluster_that_takes_none_while_none_is_under_way_refuses_the_sweep(cluster, engine):
    (cluster / "limit").write_text("0")
    with pytest.raises(UserError, match="^hydra/launcher=slurm: SLURM refuses the job: Batch job submission failed"):
        engine.poll(0)


def test_a_job_whose_machine_is_taken_away_is_submitted_again_and_a_cancelled_one_is_not(cluster, engine):
    (cluster / "limit").write_text("100")
    engine.poll(0)
    assert offered(cluster) == [7]
    lines = (cluster / "queue").read_text().splitlines()
    lines[2], lines[4] = lines[2].replace("RUNNING", "PREEMPTED"), lines[4].replace("RUNNING", "CANCELLED")
    (cluster / "queue").write_text("".join(f"{line}\n" for line in lines))
    preempted, cancelled = engine._submitted[2].job, engine._submitted[4].job
    assert engine.poll(0) == [cancelled]
    assert (cancelled.status, preempted.status) == ("failed", "waiting")
    assert "ended before its run began: CANCELLED" in cancelled.error
    assert offered(cluster) == [1]
    assert preempted.where == f"slurm job {(cluster / 'queue').read_text().splitlines()[-1].split()[0]}"


def test_a_job_that_is_taken_back_before_it_is_submitted_is_returned(cluster, engine):
    (cluster / "limit").write_text("0")
    job = engine._new[2]
    engine.stop(job, "taken back")
    assert engine.poll(0) == [job] and (job.status, job.error) == ("interrupted", "taken back")
    assert len(engine._new) == 6 and engine.free == slurm._AT_ONCE - 6
