import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from compared_arms import BPB, DATA, LOSS, arm, between, doubt_about

from lmlab.analysis.comparison import Arm, Setting
from lmlab.analysis.doubts import ERRORS, differences_between, examine, held_equal
from lmlab.runs.lookup import all_runs


def test_there_are_eighteen_errors_and_none_is_forgotten():
    assert len(ERRORS) == len(set(ERRORS.values())) == 18


@pytest.mark.parametrize(("metric", "whole"), [(BPB, True), (LOSS, False), ("test/accuracy", False)])
def test_a_fair_comparison_raises_no_doubt(tmp_path, metric, whole):
    runs = tmp_path / "runs"
    for model in ("lstm", "transformer"):
        arm(runs, model, whole=whole)
    assert examine(between(runs, metric)) == []


def test_equal_flops_are_as_fair_as_equal_tokens(tmp_path):
    arm(tmp_path / "runs", "gru", "budget.tokens=1_330_000")
    arm(tmp_path / "runs", "transformer")
    comparison = between(tmp_path / "runs")
    assert examine(comparison) == []
    equal = held_equal(comparison)
    assert "FLOPs of training" in equal and "tokens of training" not in equal and "parameters (total)" not in equal


def test_tokenizers_compare_in_bits_per_byte(tmp_path):
    for tokenizer, fingerprint, tokens in (("bpe", "a", 100_000), ("byte", "b", 200_000)):
        splits = {split: {"tokens": tokens, "bytes": 200_000, "unknown": 0} for split in ("validation", "test")}
        vocabulary = 2048 if tokenizer == "bpe" else 256
        data = DATA | {
            "fingerprint": fingerprint * 64,
            "tokenizer_fingerprint": fingerprint * 64,
            "splits": splits,
            "vocabulary": vocabulary,
        }
        options = {"tokenizer": {"_target_": "lmlab.data.tokenizers.Byte"}} if tokenizer == "byte" else {}
        arm(tmp_path / "runs", "transformer", f"tokenizer={tokenizer}", data=data, options=options)
    assert examine(between(tmp_path / "runs", group="tokenizer")) == []
    doubt = doubt_about(tmp_path / "runs", 5, "refuse", "2,048", "256", BPB, group="tokenizer", metric=LOSS)
    assert len(doubt.runs) == 6


def test_generated_tasks_on_their_accuracy_with_values_drawn_in_each_arm(tmp_path):
    draws = {"lstm": (1.1e-3, 3.3e-3, 9e-3, 2.1e-2), "transformer": (1.4e-3, 3e-3, 8e-3, 1.8e-2)}
    data = {"name": "parity", "fingerprint": "p" * 64, "vocabulary": 2048}
    data["splits"] = {split: {"sequences": 1000, "length": 128} for split in ("validation", "test")}
    for model, rates in draws.items():
        arm(tmp_path / "runs", model, rates=rates, data=data)
    assert examine(between(tmp_path / "runs", LOSS)) == []


def test_a_comparison_of_optimizers_is_about_the_optimizer(tmp_path):
    for optimizer in ("adamw", "adam"):
        arm(tmp_path / "runs", "lstm", f"optimizer={optimizer}")
    assert examine(between(tmp_path / "runs", group="optimizer")) == []


def test_a_study_says_what_its_arms_are_about(tmp_path):
    arm(tmp_path / "runs", "lstm", options={"optimizer.eps": 1e-6})
    arm(tmp_path / "runs", "transformer")
    doubt_about(tmp_path / "runs", 9, "doubt", "optimizer.eps: lstm 1e-06, transformer 1e-08")
    arms = {"lstm": ["model=lstm", "optimizer.eps=1e-6"], "transformer": ["model=transformer"]}
    assert examine(between(tmp_path / "runs", study=SimpleNamespace(arms=arms))) == []


def test_trials_of_a_study_have_a_seed_of_their_own(runs):
    """Every candidate has the tuning seed; the chosen one also those of the end, and only these are its scores."""
    arm(runs, "lstm")
    whole = between(runs)

    def as_study(each: Arm) -> Arm:
        chosen = Setting(each.runs[1:])
        return Arm(each.name, [*(Setting(setting.runs[:1]) for setting in each.settings), chosen], chosen)

    study = SimpleNamespace(arms={"lstm": ["model=lstm"], "transformer": ["model=transformer"]})
    doubts = examine(replace(whole, arms=[as_study(each) for each in whole.arms], study=study))
    assert [doubt.number for doubt in doubts] == [13]  # two seeds are few
    assert held_equal(whole)["trials"] == "3 settings of each arm"


def test_what_was_held_equal_and_what_differs(runs):
    arm(runs, "lstm")
    comparison = between(runs)
    equal = held_equal(comparison)
    assert equal["data"] == "stdlib (fingerprint cccccccccccc)"
    assert equal["tokens of training"] == "1,001,472" and equal["context"] == "128 tokens"
    assert equal["parameters (total)"] == "1,052,800 to 1,053,824 (within 0.1%)"
    assert equal["seeds"] == "1, 2, 3" and equal["trials"] == "3 settings of each arm" and equal["code"] == "c0de"
    assert "parameters (non_embedding)" not in equal and "FLOPs per token" not in equal
    differing = dict(differences_between(comparison))
    assert differing["model.width"] == {"lstm": 200, "transformer": 128}
    assert all(option.startswith("model.") for option in differing)


def test_a_run_that_says_next_to_nothing_is_doubted_and_not_the_end_of_it(runs):
    arm(runs, "lstm")
    for run in all_runs(runs):
        manifest = {
            key: run.manifest[key] for key in ("id", "name", "seed", "status", "attempts", "metrics", "choices")
        }
        (run.path / "run.json").write_text(json.dumps(manifest | {"attempts": []}))
    numbers = {doubt.number for doubt in examine(between(runs))}
    assert numbers >= {2, 7, 8, 9, 10, 11, 12}
    held_equal(between(runs))
