"""The benchmarks that need nothing but this project run; what they find is no matter of a test."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts" / "benchmark"

pytestmark = pytest.mark.slow


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_architectures_of_equal_size_are_timed_and_what_fails_is_marked(tmp_path):
    sizes = ["--contexts=8,24", "--parameters=40k", "--tokens=48", "--generated=4", "--rounds=1", "--length=8"]
    command = [sys.executable, SCRIPTS / "architectures.py", "--models=transformer,min_gru,lstm", "--device=cpu"]
    done = subprocess.run(
        [*command, *sizes, "--vocabulary=64", "--threads=1", f"--folder={tmp_path}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "architectures.jsonl")
    assert [(row["model"], row["context"], row["batch"]) for row in found] == [
        (model, context, 48 // context) for context in (8, 24) for model in ("transformer", "min_gru", "lstm")
    ]
    for row in found:
        if row["model"] == "lstm":  # too coarse for this size
            assert row["training_tokens_per_second"] is row["generation_tokens_per_second"] is None
            assert row["training_note"].startswith("failed: model.parameters=40k: no width is within 1 %")
        else:
            assert row["parameters"] == pytest.approx(40_000, rel=0.01)
            assert row["training_tokens_per_second"] > 0
            assert row["generation_tokens_per_second"] > 0
    assert found[0]["state_bytes"] * 3 == found[3]["state_bytes"]
    assert found[1]["state_bytes"] == found[4]["state_bytes"]
    assert all(row["ratio"] > 0 for row in rows(tmp_path / "recurrences.jsonl"))
    assert (tmp_path / "architectures.html").exists() == (find_spec("plotly") is not None)


def test_commands_are_timed_against_importing_torch():
    command = [sys.executable, SCRIPTS / "commands.py", "--rounds=1", "--only=runs,generate"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    timed = dict(re.findall(r"^│ (\S[^│]*\S) +│ +(\d+\.\d\d) │", done.stdout, flags=re.MULTILINE))
    assert list(timed) == ["import torch", "runs", "generate"] and all(float(seconds) > 0 for seconds in timed.values())


def test_starts_of_runs_are_timed_in_every_way():
    command = [sys.executable, SCRIPTS / "sweep_starts.py", "--runs=1", "--rounds=1"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    ratios = re.findall(r"^(.+) / (.+): median (\d+\.\d\d) of 1 rounds", done.stdout, flags=re.MULTILINE)
    assert [(name, other) for name, other, _ in ratios] == [
        ("warm, one at a time", "an interpreter each"),
        ("warm, one at a time", "in one process"),
        ("warm, with W&B offline", "warm, one at a time"),
        ("warm, two at a time", "warm, one at a time"),
    ]
    assert all(float(ratio) > 0 for _, _, ratio in ratios)


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="needs the extra: pip install 'lmlab[report]'")
def test_the_dashboard_s_answers_are_timed():
    command = [sys.executable, SCRIPTS / "dashboard.py", "--runs=30", "--points=100", "--updates=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^first page later: all rows after \d\.\d{3} s, the first curves after \d\.\d{3} s",
        done.stdout,
        flags=re.MULTILINE,
    )
    assert re.search(r"^update: median \d+ ms, 95 % under \d+ ms", done.stdout, flags=re.MULTILINE)


def test_reading_runs_is_timed():
    command = [sys.executable, SCRIPTS / "reading.py", "--runs=4", "--points=300", "--grown=2"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ curves of finished runs +│ +\d+\.\d+ │", done.stdout)
    assert "303 rows of a run are kept; 2 runs had grown." in done.stdout


@pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra: pip install 'lmlab[hf]'")
def test_decoding_is_timed_against_one_by_one_and_the_transformers_library():
    sizes = ["--prompts=8", "--alone=2", "--tokens=4", "--new=3", "--width=16", "--depth=1", "--vocabulary=50"]
    command = [sys.executable, SCRIPTS / "decoding.py", "--rounds=1", "--threads=1", "--beams=2", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    ratios = re.findall(r"^at once / (.+): median (\d+\.\d+) of 1 rounds", done.stdout, flags=re.MULTILINE)
    assert [other for other, _ in ratios] == ["one by one", "transformers", "transformers"]
    assert all(float(ratio) > 0 for _, ratio in ratios)
