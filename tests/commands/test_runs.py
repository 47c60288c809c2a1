import csv
import io
import json
import math

import pytest
from synthetic_runs import write_run

from lmlab.analysis.comparison import compare
from lmlab.analysis.doubts.arms import tried
from lmlab.analysis.records import read
from lmlab.commands.runs import main, ordered
from lmlab.dashboard.rows import row_of
from lmlab.errors import UserError
from lmlab.runs.lookup import all_runs


def test_runs_that_diverged_or_have_no_metric_come_last_in_both_directions():
    rows = [{"loss": value, "metrics": {}, "config": {}} for value in (math.nan, 2.0, None, 1.0, 3.0)]
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
    main(paths, None, **asked, limit=None, format="json")
    rows, said = capsys.readouterr()
    assert said.startswith("left out:") and "gru" in said and "config.yaml cannot be read" in said
    (row,) = json.loads(rows)
    assert row["path"] == str(runs[1].path) and row["utilisation"] == 0.25
    assert row["loss"] == runs[1].manifest["metrics"]["validation/loss"]


def test_runs_as_csv_and_as_paths(tmp_path, capsys):
    folder = tmp_path / "runs"
    runs = [write_run(folder, "model=lstm", seed=seed, tags=["a", "b"]) for seed in (1, 2)]
    paths = {"outputs": str(tmp_path), "runs": str(folder), "cache": str(tmp_path / "cache")}
    asked = {"name": None, "status": None, "tag": None, "where": {}, "sort": "seed", "descending": True, "limit": None}
    main(paths, None, **asked, format="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["seed"] for row in rows] == ["2", "1"] and rows[0]["tags"] == "a b"
    assert float(rows[0]["validation/loss"]) == runs[1].manifest["metrics"]["validation/loss"]
    assert rows[0]["path"] == str(runs[1].path)
    main(paths, None, **asked, format="paths")
    assert capsys.readouterr().out == f"{runs[1].path}\n{runs[0].path}\n"
    main(paths, None, **asked | {"status": "failed"}, format="paths")
    main(paths, None, **asked | {"status": "failed"}, format="csv")
    assert capsys.readouterr().out.strip() == "tags"


def test_options_and_tags_that_no_run_has_are_refused(tmp_path, capsys):
    folder = tmp_path / "runs"
    write_run(folder, "model=lstm", seed=1, tags=["paper"])
    paths = {"outputs": str(tmp_path), "runs": str(folder), "cache": str(tmp_path / "cache")}
    asked = {"name": None, "status": None, "tag": None, "where": {}, "sort": "seed", "descending": True, "limit": None}
    for other, message in (
        ({"where": {"sed": 1}}, r"sed=1: none of 1 runs has this.*'seed'"),
        ({"tag": "papr"}, r"tag=papr: none of 1 runs has this tag \(did you mean 'paper'"),
    ):
        with pytest.raises(UserError, match=message):
            main(paths, None, **asked | other, format="table")
    main(paths, None, **asked | {"status": "failed"}, format="table")
    assert "No runs fit failed" in capsys.readouterr().out


def test_a_pruned_run_is_called_pruned_wherever_runs_are_listed(tmp_path, capsys):
    folder, why = tmp_path / "runs", "validation/loss=3.0000 after 640 tokens (sweep.pruner=median)"
    write_run(folder, "model=lstm", seed=1, options={"optimizer.lr": 1e-3})
    attempts = [{"status": "pruned", "error": why}]
    run = write_run(folder, "model=lstm", seed=1, options={"optimizer.lr": 1.0}, status="pruned", attempts=attempts)
    paths = {"outputs": str(tmp_path), "runs": str(folder), "cache": str(tmp_path / "cache")}
    options = {"name": None, "status": "pruned", "tag": None, "where": {}, "sort": "loss", "descending": False}
    main(paths, None, **options, limit=None, format="json")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["path"], row["status"]) == (str(run.path), "pruned")
    records = read(all_runs(folder)).readable
    comparison = compare(records)
    (left,) = comparison.left_out
    assert left.why == f"is pruned: {why}"
    assert len(tried(comparison, comparison.arms[0])) == 2  # it was tried, and found bad
    row = row_of(next(record for record in records if record.run == run), None)
    assert (row["status"], row["error"]) == ("pruned", why)


def test_rows_are_sorted_by_any_metric():
    rows = [{"metrics": {"validation/mine": value, "test/loss": -value}, "config": {}} for value in (2.0, 3.0, 1.0)]
    rows.append({"metrics": {}, "config": {}})

    def order(key):
        return [row["metrics"].get("validation/mine") for row in ordered(rows, key, False)]

    assert order("mine") == order("validation/mine") == [1.0, 2.0, 3.0, None]
    assert order("test/loss") == [3.0, 2.0, 1.0, None]
    with pytest.raises(UserError, match="sort=test/los: no column, metric or .*'test/loss'"):
        ordered(rows, "test/los", False)


def test_the_metric_that_is_sorted_by_is_shown(tmp_path, capsys):
    timings = {"tokens": 10, "tokens_per_second": 1.0, "seconds": 1.0}
    write_run(tmp_path / "runs", "model=lstm", metrics={"validation/mine": 0.125}, timings=timings)
    paths = {"outputs": str(tmp_path), "runs": str(tmp_path / "runs"), "cache": str(tmp_path / "cache")}
    options = {"name": None, "status": None, "tag": None, "where": {}, "descending": False, "limit": None}
    main(paths, None, **options, sort="mine", format="table")
    shown = capsys.readouterr().out
    assert "validation/mine" in shown and "0.1250" in shown
