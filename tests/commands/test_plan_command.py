import json
import shlex

import pytest

from lmlab.cli import COMMANDS

SMALL = ["model=gpt2", "model.width=64", "model.depth=2", "batch.size=64", "batch.context=64", "trainer=gpu"]


def test_plain_numbers(lmlab):
    done = lmlab("plan", *SMALL, "devices=16", "device=a100_80", "price=2", "format=json", "budget.tokens=40960")
    found = json.loads(done.stdout)
    assert (found["devices"], found["nodes"], found["steps"]) == (16, 2, 10)
    assert found["efficiency"] == pytest.approx(0.55 * 0.54)  # not compiled
    for row in found["plans"]:
        assert row["total"] == sum(row["memory"].values())
        assert row["dollars"] == pytest.approx(2 * row["device_hours"])
    assert found["recommended"]["fits"]


def test_tables_and_the_command_that_follows(lmlab, tmp_path):
    (own := tmp_path / "own").mkdir()
    words = [
        f"--config-dir={own}",
        "experiment=shakespeare_cpu",
        "vocabulary=65",
        "devices=2",
        "device=rtx4090",
        "seed=3",
    ]
    shown = lmlab("plan", *words, COLUMNS="100").stdout
    assert "Memory of each device" in shown and "Recommended: ddp" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("lmlab train ")]
    assert {f"--config-dir={own}", "experiment=shakespeare_cpu", "seed=3", "trainer.devices=2"} < set(shlex.split(line))
    assert "vocabulary" not in line and "device=" not in line
    assert lmlab(*shlex.split(line)[1:], "--cfg", "job").stdout
    table = shown[shown.index("Memory of") : shown.index("Memory: ")]
    assert max(map(len, table.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["device=h1000"], "device=h1000: no such option (did you mean 'h100'?)"),
        (["efficiency=2", *SMALL], "efficiency=2: expected a number in (0, 1]"),
        (["device=t4", "trainer=gpu"], "trainer.precision=bf16-mixed: NVIDIA T4 has no units for bfloat16"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(lmlab, words, message):
    done = lmlab("plan", *words, check=False)
    assert done.returncode != 0 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_it_is_a_command():
    assert "plan" in COMMANDS


@pytest.mark.slow
def test_runs_of_a_sweep_are_side_by_side(lmlab):
    words = ["-m", "model=gpt2,lstm", "vocabulary=300", "batch.size=8", "price=2e9", "budget.tokens=40960"]
    shown = lmlab("plan", *words, "device=h100", COLUMNS="200").stdout
    title, *lines = shown.splitlines()
    assert title.startswith("On 1 x NVIDIA H100 SXM of 80 GiB, one after another") and "batch.size=8" in title
    cost = {line.split()[0]: float(line.split()[-2].replace(",", "")) for line in lines if line.endswith(" $")}
    assert cost["all"] == pytest.approx(cost["model=gpt2"] + cost["model=lstm"], abs=0.02) and len(cost) == 3
    several = lmlab("plan", *words, "device=h100,l40s", COLUMNS="200").stdout
    assert "L40S" in several.splitlines()[0] and "one after another" not in several and "\nall " not in several
    alone = lmlab("plan", *words[2:], "-m", "model=gpt2", "device=h100").stdout
    assert "Memory of each device" in alone and "lmlab train" in alone


def test_devices_that_cannot_share_a_batch(lmlab):
    shown = lmlab("plan", "model=lstm", "vocabulary=300", "batch.size=16", "devices=3").stdout
    assert "batch.size=16 is not divisible by devices=3 times trainer.accumulate=1" in shown
    assert "Would fit: devices=16" in shown.replace("\n", " ")
