import math

from lmlab.commands.runs import ordered


def test_runs_that_diverged_or_have_no_metric_come_last_in_both_directions():
    rows = [{"loss": value, "config": {}} for value in (math.nan, 2.0, None, 1.0, 3.0)]
    for descending, expected in ((False, [1.0, 2.0, 3.0]), (True, [3.0, 2.0, 1.0])):
        found = [row["loss"] for row in ordered(rows, "loss", descending)]
        assert found[:3] == expected
        assert {str(value) for value in found[3:]} == {"nan", "None"}
