"""Machines without a home folder, with long paths, and with little room for what is temporary."""

import pytest

from lmlab.runs.run import Run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_needs_no_home_and_takes_any_path_for_temporary_files(lmlab, small, tmp_path, devices):
    folder = tmp_path / ("t" * 90)
    folder.mkdir()
    options = ["model=lstm", f"trainer.devices={devices}", "logger=wandb"]
    done = lmlab("train", *small, *options, HOME="/nonexistent", TMPDIR=str(folder))
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    (run,) = (Run(path.parent) for path in tmp_path.glob("outputs/runs/*/run.json"))
    assert run.status == "finished"
    assert [*run.path.glob("wandb/**/*.wandb")]
    assert not [path for path in folder.rglob("*") if path.is_file() and "torchinductor" not in str(path)]
    done = lmlab("report", f"runs={run.path.name}", check=False, HOME="/nonexistent", TMPDIR=str(folder))
    assert not done.stderr, done.stderr
    assert [*tmp_path.glob("outputs/reports/*/report.html")]
