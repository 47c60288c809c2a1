"""Short runs give the results that are recorded in tests/golden; ``scripts/golden.py`` compares them to the bit."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from golden_entries import BLOCKS, ENTRIES, MODELS, OBJECTIVES, OPTIMIZERS, SCHEDULERS, TASKS
from golden_results import Runner, differences, read_golden

from lmlab.config.options import options_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "golden.py"

TOLERANCE = 1e-4
"""Of losses, on other machines than the one that they were recorded on."""

COARSE = {"training/batch/bfloat16": 1e-2, "training/optimizer/muon": 1e-2}
"""The same of entries that compute in half precision."""

QUICK = (
    "model/lstm/cross_entropy/text",
    "model/hybrid/brier/task",
    "parts/options/dropout_attention",
    "training/callbacks/ema",
    "micro/text_moe",
    "runs/start",
)

EXACT = ("id", "options", "sizes", "train/learning_rate")
LOSSES = ("loss", "gradient_norm", "load_balance")


def moved(recorded, now, tolerance):
    """Return what has moved: always ids, sizes and losses; scores and texts only where the losses agree closely."""
    found = differences(recorded, now)
    exact = [one for one in found if one.name.startswith(EXACT)]
    losses = [one for one in found if any(part in one.name for part in LOSSES) and one not in exact]
    others = [one for one in found if one not in exact and one not in losses]
    if any(one.relative is None or one.relative > 1e-6 for one in losses):
        others = [one for one in others if None in (one.recorded, one.now)]
    beyond = [one for one in losses + others if one.relative is None or one.relative > tolerance]
    return beyond + [one for one in exact if one.relative is None or one.relative > 1e-9]


@pytest.mark.parametrize(
    "entry",
    [pytest.param(one, id=one.name, marks=[pytest.mark.slow] * (one.name not in QUICK)) for one in ENTRIES],
)
def test_a_short_run_gives_the_recorded_result(entry, command_line, tmp_path):
    recorded = read_golden(entry.name.partition("/")[0])["entries"][entry.name]
    now = Runner(command_line, tmp_path).run(entry)
    if found := moved(recorded, now, COARSE.get(entry.name, TOLERANCE)):
        lines = "\n".join(f"{one.name}: {one.recorded} -> {one.now}" for one in found)
        pytest.fail(lines)


def test_every_entry_is_recorded_with_its_options_and_nothing_else():
    files = {entry.name.partition("/")[0] for entry in ENTRIES}
    recorded = {name: one["options"] for file in files for name, one in read_golden(file)["entries"].items()}
    assert recorded == {entry.name: shlex.join(entry.train) for entry in ENTRIES}


def test_entries_are_chosen_by_parts_of_their_names():
    command = [sys.executable, SCRIPT, "--list", "--only", "lstm/brier,micro/*_moe"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "model/lstm/brier/text",
        "model/lstm/brier/task",
        "micro/text_moe",
        "micro/task_moe",
    ]


EXAMPLES = (
    *("aeslc", "arithmetic", "continuation", "lambada", "multi30k", "multiple_choice", "records", "squad"),
    "translation",
)
"""Data sets of examples: all but ``arithmetic`` need files and have no entries."""
OTHERS = (
    *(
        "enwik8",
        "fineweb_edu",
        "hf",
        "lambada_text",
        "mixture",
        "ptb",
        "text8",
        "tinystories",
        "wikipedia",
        "wikitext103",
    ),
)
"""Texts to be downloaded, without entries, and the mixture."""


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("model", MODELS),
        ("objective", OBJECTIVES),
        ("optimizer", OPTIMIZERS),
        ("scheduler", SCHEDULERS),
        ("block", BLOCKS),
        (
            "data",
            [*TASKS, *EXAMPLES, *OTHERS, "fuzzy_in_context_recall", "text", "stdlib", "tinyshakespeare", "wikitext2"],
        ),
    ],
)
def test_every_option_of_a_group_has_an_entry(group, names):
    assert set(options_of(group)) == set(names)


def test_a_value_that_differs_by_a_bit_is_found_and_one_that_is_gone():
    recorded = {"id": "a", "train/loss": [1.0, 2.0], "final x": float("nan"), "samples": ["the"]}
    assert not differences(recorded, recorded)
    now = {"id": "a", "train/loss": [1.0, 2.0000000000000004], "samples": ["the"], "new": 1}
    found = differences(recorded, now)
    assert [one.name for one in found] == ["train/loss[1]", "final x", "new"]
    assert found[0].relative == pytest.approx(2.2e-16, rel=0.1) and found[1].relative is None
    assert [one.name for one in moved(recorded, now, 1e-4)] == ["final x", "new"]
