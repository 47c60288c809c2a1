from compared_arms import arm, between, found

from lmlab.analysis.doubts import examine
from lmlab.runs.lookup import all_runs


def test_8_unequal_sizes(runs):
    arm(runs, "lstm", "model.width=400")
    found(runs, 8, "doubt", "equal: of no kind", "total lstm 3,3", "model.parameters=1_053_824")


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
    found(tmp_path / "runs2", 8, "doubt", "equal: total, non_embedding, matmul", "more for each")
