import json
import math

from synthetic_runs import write_run

from lmlab.commands.runs import ordered, task


def test_runs_that_diverged_or_have_no_metric_come_last_in_both_directions():
    rows = [{"loss": value, "config": {}} for value in (math.nan, 2.0, None, 1.0, 3.0)]
    for descending, expected in ((False, [1.0, 2.0, 3.0]), (True, [3.0, 2.0, 1.0])):
        found = [row["loss"] for row in ordered(rows, "loss", descending)]
        assert found[:3] == expected
        assert {str(value) for value in found[3:]} == {"nan", "None"}


def test_what_is_broken_is_left_out_by_name_and_the_rest_is_listed(tmp_path, capsys):
    folder = tmp_path / "runs"
    runs = [write_run(folder, "model=lstm", seed=seed, timings={"utilisation": 0.25, "tokens": 10}) for seed in (1, 2)]
    write_run(folder, "model=gru").path.joinpath("config.yaml").write_text("")
    paths = {"outputs": str(tmp_path), "runs": str(folder), "cache": str(tmp_path / "cache")}
    asked = {"name": None, "status": None, "tag": None, "where": {"seed": 2}, "sort": "loss", "descending": False}
    task(paths, None, **asked, limit=None, format="json")
    said, _, rows = capsys.readouterr().out.partition("\n")
    assert said.startswith("left out:") and "gru" in said and "config.yaml cannot be read" in said
    (row,) = json.loads(rows)
    assert row["path"] == str(runs[1].path) and row["utilisation"] == 0.25
    assert row["loss"] == runs[1].manifest["metrics"]["validation/loss"]
