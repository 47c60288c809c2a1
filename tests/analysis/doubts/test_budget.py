from compared_arms import arm, found


def test_7_stopped_in_mid_schedule(runs):
    arm(runs, "lstm", training={"steps": 489, "stopped_at": 300, "compiled": False})
    doubt = found(runs, 7, "refuse", "3 of 6 runs ended before their last step", "61% of 489 steps")
    assert all(label.startswith("lstm") for label in doubt.runs)


def test_7_a_constant_rate_has_no_middle(tmp_path):
    for model in ("lstm", "transformer"):
        stopped = {"steps": 489, "stopped_at": 300 if model == "lstm" else 489, "compiled": False}
        arm(tmp_path / "runs", model, "scheduler=constant", training=stopped)
    found(tmp_path / "runs", 7, "doubt", "just a smaller budget")


def test_7_unequal_budgets(runs):
    arm(runs, "lstm", "budget.tokens=3_000_000", timings={"seconds": 300.0, "tokens": 3_000_320})
    found(runs, 7, "refuse", "tokens of training: lstm 3,000,320, transformer 1,001,472")
