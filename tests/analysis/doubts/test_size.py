import pytest
from compared_arms import arm, between, doubt_about

from lmlab.analysis.doubts import examine, held_equal
from lmlab.analysis.doubts.size import equal_kinds
from lmlab.runs.lookup import all_runs


def test_8_unequal_sizes(runs):
    arm(runs, "lstm", "model.width=400")
    doubt_about(runs, 8, "doubt", "equal: of no kind", "total lstm 3,3", "model.parameters=1_053_824")


@pytest.mark.parametrize(
    ("kind", "within", "asked", "equal"),
    [
        ("total", 0.03, ("1M", "1M"), ["total"]),
        ("non_embedding", 0.03, ("1M", "1M"), ["non_embedding"]),  # what was declared, and only that
        ("total", None, ("1M", "1M"), []),
        ("total", 0.02, ("1M", "1M"), []),  # 5 % apart, where 4.1 % may be
        ("total", 0.03, ("1M", "1.05M"), []),  # they ask for different sizes
    ],
)
def test_8_sizes_are_equal_within_what_was_declared(tmp_path, kind, within, asked, equal):
    for model, target, count in (("lstm", asked[0], 975_000), ("transformer", asked[1], 1_024_000)):
        options = {"model.parameters": target, "model.parameters_of": kind, "model.parameters_within": within}
        arm(tmp_path / "runs", model, options=options, counted=False, parameters=count)
    comparison = between(tmp_path / "runs")
    assert equal_kinds(comparison) == equal
    assert [name for name in held_equal(comparison) if name.startswith("parameters")] == [
        f"parameters ({k})" for k in equal
    ]
    assert any(doubt.number == 8 for doubt in examine(comparison)) == (not equal)


def test_8_equal_sizes_of_which_one_computes_far_more(tmp_path):
    sizes = {"total": 1_000_000, "non_embedding": 900_000, "matmul": 1_000_000}
    for model in ("transformer", "moe"):
        arm(tmp_path / "runs", model)
        for run in all_runs(tmp_path / "runs"):
            run.update(sizes=run.manifest["sizes"] | {"parameters": sizes})
    assert {doubt.number for doubt in examine(between(tmp_path / "runs"))} == set()  # one of four experts: equal FLOPs
    arm(tmp_path / "runs2", "transformer")
    arm(tmp_path / "runs2", "transformer_2017", "model.depth=8")
    for run in all_runs(tmp_path / "runs2"):
        run.update(sizes=run.manifest["sizes"] | {"parameters": sizes})
    doubt_about(tmp_path / "runs2", 8, "doubt", "equal: total, non_embedding, matmul", "more for each")


def test_7_stopped_in_mid_schedule(runs):
    arm(runs, "lstm", training={"steps": 489, "stopped_at": 300, "compiled": False})
    doubt = doubt_about(runs, 7, "refuse", "3 of 6 runs ended before their last step", "61% of 489 steps")
    assert all(label.startswith("lstm") for label in doubt.runs)


def test_7_a_constant_rate_has_no_middle(tmp_path):
    for model in ("lstm", "transformer"):
        stopped = {"steps": 489, "stopped_at": 300 if model == "lstm" else 489, "compiled": False}
        arm(tmp_path / "runs", model, "scheduler=constant", training=stopped)
    doubt_about(tmp_path / "runs", 7, "doubt", "just a smaller budget")


def test_7_unequal_budgets(runs):
    arm(runs, "lstm", "budget.tokens=3_000_000", timings={"seconds": 300.0, "tokens": 3_000_320})
    doubt_about(runs, 7, "refuse", "tokens of training: lstm 3,000,320, transformer 1,001,472")
