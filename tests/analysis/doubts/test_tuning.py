from compared_arms import RATES, VALIDATION_BPB, arm, between, doubt_about

from lmlab.analysis.doubts import examine


def test_a_setting_that_diverged_was_tried(runs):
    """Nothing lies beyond the greatest learning rate that did not diverge, and no trial is missing."""
    for rate, loss in zip(RATES, (0.9, 0.8, None), strict=True):
        scores = {"status": "failed", "metrics": {}} if loss is None else {"metrics": {VALIDATION_BPB: loss}}
        arm(runs, "lstm", rates=(rate,), **scores)
    comparison = between(runs)
    assert [left.arm for left in comparison.left_out] == ["lstm"] * 3
    assert examine(comparison) == []


def test_6_more_trials_in_one_arm(runs):
    arm(runs, "lstm", rates=(2e-3, 5e-3, 7e-3, 8e-3, 1.2e-2))
    text = "lstm 5, transformer 3"
    doubts = [doubt for doubt in examine(between(runs)) if doubt.number == 6]
    assert any(text in doubt.text and "Try 5 settings of transformer" in doubt.text for doubt in doubts)
    assert any("0.002 and 0.005 and 0.007" in doubt.text for doubt in doubts)


def test_6_tuned_beside_untuned(runs):
    arm(runs, "lstm", rates=(5e-3,))
    doubts = examine(between(runs))
    assert {doubt.number for doubt in doubts} == {6} and len(doubts) == 2
    assert "optimizer.lr was tuned for transformer" in doubts[1].text and "lstm 0.005" in doubts[1].text


def test_6_nothing_tuned(tmp_path):
    for model in ("lstm", "transformer"):
        arm(tmp_path / "runs", model, rates=(5e-3,))
    doubt_about(tmp_path / "runs", 6, "doubt", "optimizer.lr: lstm 0.005", "optimizer.lr=0.0017,0.005,0.015")


def test_6_the_best_rate_is_at_the_edge_of_its_grid(runs):
    for rate, loss in zip(RATES, (1.7, 1.6, 1.5), strict=True):
        arm(runs, "lstm", rates=(rate,), metrics={VALIDATION_BPB: loss})
    doubt = doubt_about(
        runs, 6, "doubt", "The best optimizer.lr of lstm, 0.012, is the greatest of the 3", "Try optimizer.lr=0.03 as"
    )
    assert len(doubt.runs) == 3


def test_6_the_end_of_an_option_is_no_edge(tmp_path):
    for model in ("lstm", "transformer"):
        for dropout, loss in ((0.0, 1.4), (0.1, 1.7)):
            for rate, more in zip(RATES, (0.1, 0.0, 0.1), strict=True):
                scores = {VALIDATION_BPB: loss + more}
                arm(tmp_path / "runs", model, rates=(rate,), options={"model.dropout": dropout}, metrics=scores)
    assert 6 not in {doubt.number for doubt in examine(between(tmp_path / "runs"))}


def test_6_a_better_setting_that_was_passed_over(runs):
    arm(runs, "lstm", rates=(2e-3, 1.2e-2), metrics={VALIDATION_BPB: 0.9})
    arm(runs, "lstm", rates=(5e-3,), seeds=(1,), metrics={VALIDATION_BPB: 0.8})
    doubts = [doubt for doubt in examine(between(runs)) if "passed" in doubt.text or "best setting" in doubt.text]
    assert len(doubts) == 1 and doubts[0].number == 6
    assert "optimizer.lr=0.005 is better by 0.1 " in doubts[0].text and "seed=2,3" in doubts[0].text
