from compared_arms import arm, between, doubt_about, evaluated, score_on, sizes_of

from lmlab.analysis.doubts import examine
from lmlab.runs.lookup import all_runs


def test_1_state_carried_in_one_arm_only(runs):
    arm(runs, "lstm", "batch.carry_state=true")
    doubt_about(runs, 1, "refuse", "batch.carry_state: lstm true, transformer false")


def test_1_documents_that_see_each_other_in_one_arm_only(runs):
    arm(runs, "lstm", "batch.documents=separate")
    doubt_about(runs, 1, "refuse", "batch.documents: lstm separate, transformer packed")


def test_1_windows_of_different_length(runs):
    arm(runs, "lstm", "batch.context=256", "batch.size=8")
    doubt_about(runs, 1, "refuse", "batch.context: lstm 256, transformer 128", only=False)
    assert {doubt.number for doubt in examine(between(runs))} == {1, 13}


def test_1_and_4_evaluations_that_are_no_column(runs):
    arm(runs, "lstm")
    evaluated(runs, "lstm", streams=4)
    evaluated(runs, "transformer")
    assert examine(between(runs)) == []  # streams are no part of sliding windows
    evaluated(runs, "transformer", stride=32)
    assert examine(between(runs)) == []  # both have stride 64
    for run in all_runs(runs):
        (run.path / "evaluations.jsonl").unlink()
        score_on(run)
    evaluated(runs, "lstm", stride=32)
    evaluated(runs, "transformer")
    doubt_about(runs, 1, "doubt", "sliding_window", "stride=32", "stride=64")
    evaluated(runs, "lstm", checkpoint="best")
    doubt_about(runs, 4, "doubt", "best", "final")


def test_4_averaged_weights_beside_last_ones(runs):
    arm(runs, "lstm", "optimizer=nt_asgd")
    doubt_about(runs, 4, "doubt", "lstm the mean of its weights, transformer its last weights", only=False)
    assert {doubt.number for doubt in examine(between(runs))} == {4, 9}


def test_4_fine_tuning_beside_training(runs):
    arm(runs, "lstm", options={"model.path": "somewhere"}, counted=False, sizes=sizes_of(runs))
    doubt = next(doubt for doubt in examine(between(runs)) if doubt.number == 4)
    assert doubt.severity == "refuse" and "lstm somewhere, transformer none" in doubt.text
