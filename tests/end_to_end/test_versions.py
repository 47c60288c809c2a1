"""A run directory as it was written before manifests had a version: no such number, and fewer options."""

import json
import shutil
from pathlib import Path

import pytest

from lmlab.runs.run import Run

pytestmark = pytest.mark.slow

RUN = "1c3ec1509b"


def test_an_older_run_is_listed_evaluated_generated_from_and_reproduced(lmlab, tmp_path):
    folder = tmp_path / "outputs" / "runs"
    old = Run(folder / f"lstm-parity-{RUN}")
    shutil.copytree(Path(__file__).parent / "version_0", old.path)
    manifest = (old.path / "run.json").read_bytes()

    newer = folder / "lstm-parity-newer"
    newer.mkdir()
    fields = old.manifest | {"version": 99, "id": "newer"}
    (newer / "run.json").write_text(json.dumps(fields))

    done = lmlab("runs", "format=json")
    (row,) = json.loads(done.stdout[done.stdout.index("[") :])
    assert row["id"] == RUN and row["accuracy"] == 0.53125
    said = "".join((done.stdout + done.stderr).split())
    assert f"leftout:{newer}:writteninversion99" in said and "bylmlab0.1.0;thislmlabreadsversionsupto1" in said

    lmlab("evaluate", f"run={RUN}")
    (evaluated,) = (json.loads(line) for line in (old.path / "evaluations.jsonl").read_text().splitlines())
    assert evaluated["metrics"]["answers"]["loss"] == pytest.approx(row["loss"], rel=0.1)  # of all, not of four

    lmlab("generate", f"run={RUN}", "length=4")
    lmlab("reproduce", f"run={RUN}", "tolerance=1e-3", "progress=false")
    assert (old.path / "run.json").read_bytes() == manifest
