import json
import math
from itertools import pairwise

import numpy as np
import pytest

from lmlab.analysis.report.content.loss_curves import POINTS, averaged, loss_curves, robust_top


def rows_of(run, metric):
    found = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [(row["tokens"], row[metric]) for row in found if metric in row]


def slowly(curve, x):
    """Linear interpolation, one point at a time."""
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    raise ValueError(x)


def test_seeds_that_logged_at_different_steps_are_averaged_at_equal_tokens(arm, compared, chart):
    runs = arm("lstm", {1: 1.50}, points=50) + arm("lstm", {2: 1.56}, points=33) + arm("lstm", {3: 1.44}, points=41)
    (series,) = chart(loss_curves(compared()), "curve-train-loss").series
    curves = [rows_of(run, "train/loss") for run in runs]
    assert len(series.y) > 60  # the grid is that of all three
    for x, mean, low, high in zip(series.x["tokens"], series.y, series.low, series.high, strict=True):
        values = [slowly(curve, x) for curve in curves]
        assert (mean, low, high) == pytest.approx((np.mean(values), min(values), max(values)))
    steps = np.array(series.x["tokens"]) / (16 * 128)
    assert np.allclose(series.x["step"], steps) and np.allclose(series.x["flops"], np.array(series.x["tokens"]) * 6e6)
    assert np.allclose(series.x["seconds"], 100 * steps / 977)


def test_only_tokens_that_every_seed_reached_are_averaged(arm, compared, chart):
    (long,) = arm("lstm", {1: 1.5})
    (short,) = arm("lstm", {2: 1.5})
    lines = short.metrics.read_text().splitlines()
    short.metrics.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    (series,) = chart(loss_curves(compared()), "curve-train-loss").series
    assert series.x["tokens"][-1] == rows_of(short, "train/loss")[-1][0] < rows_of(long, "train/loss")[-1][0]


def test_a_long_curve_has_a_stated_number_of_points_and_keeps_its_extremes(arm, compared, chart):
    (run,) = arm("lstm", {1: 1.5}, points=900)
    found = chart(loss_curves(compared()), "curve-train-loss")
    (series,) = found.series
    every = rows_of(run, "train/loss")
    assert len(every) > 4 * POINTS and len(series.y) <= POINTS and f"at most {POINTS} points" in found.note
    assert (min(series.y), max(series.y)) == (min(y for _, y in every), max(y for _, y in every))
    assert series.low is None  # of one seed there is no band


def test_an_axis_is_there_where_every_run_measured_it(arm, compared, chart, folder):
    runs = arm("lstm", {1: 1.5}) + arm("transformer", {1: 1.4})
    for run in runs:
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        rows = [row | {"time/joules": row["tokens"] / 1000} for row in rows]
        run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = chart(loss_curves(compared()), "curve-validation-loss")
    assert list(found.x) == ["tokens", "step", "flops", "seconds", "joules"]
    assert np.allclose(found.series[1].x["joules"], np.array(found.series[1].x["tokens"]) / 1000)
    rows = [{key: value for key, value in row.items() if key not in ("time/joules", "time/seconds")} for row in rows]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(chart(loss_curves(compared()), "curve-validation-loss").x) == ["tokens", "step", "flops"]


def test_runs_that_logged_nothing_have_no_curves(arm, compared):
    for run in arm("lstm", {1: 1.5}):
        run.metrics.unlink()
    assert loss_curves(compared()) is None


def test_rows_that_were_logged_twice_count_once(arm, compared):
    (run,) = arm("lstm", {1: 1.5})
    lines = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join([*lines[:30], *lines[20:]]) + "\n")
    along, mean, _, _ = averaged(compared().runs, "train/loss", ["tokens"])
    assert np.all(np.diff(along["tokens"]) > 0)
    once = [(row["tokens"], row["train/loss"]) for row in map(json.loads, lines) if "train/loss" in row]
    assert np.allclose(list(zip(along["tokens"], mean, strict=True)), once)


def test_a_curve_says_what_share_of_the_split_its_points_score(arm, compared, chart):
    arm("lstm", {1: 1.5}, training={"validation": {"validation": {"part": 17, "all": 170, "length": 128}}})
    section = loss_curves(compared())
    expected = " The last point scores the whole split, those before it 10.0% of it."
    assert expected in chart(section, "curve-validation-loss").note
    assert "split" not in chart(section, "curve-train-loss").note
    arm("lstm", {2: 1.5}, training={"validation": {"validation": {"part": 85, "all": 170, "length": 128}}})
    assert "those before it 10.0% to 50.0% of it." in chart(loss_curves(compared()), "curve-validation-loss").note


FALLING = [8.0, 5.0, 4.0, 3.5, 3.0]


@pytest.mark.parametrize(
    ("lines", "top"),
    [
        ([FALLING, FALLING], None),
        ([FALLING, [9.0, 12.0, 6.0, 3.2]], None),  # a bump at the start
        ([FALLING, [8.0, 6.0, 7e3, 2e5]], 8.0 + 0.15 * 5.0),
        ([FALLING, [2e5, 3e5]], 8.0 + 0.15 * 5.0),  # before it first logged
        ([[8.0, 4.0, 3.0, 2e5, 3.0]], 8.0 + 0.15 * 5.0),  # a spike
        ([FALLING, [8.0, math.nan, 1e4]], 8.0 + 0.15 * 5.0),
        ([FALLING, [12.0, 6.0, 2e5]], 12.0 + 0.15 * 5.0),  # which shows where it began
        ([[math.nan]], None),
        ([], None),
        ([[3.0, 3.0, 3.0]], None),
    ],
)
def test_an_axis_ends_where_only_runs_that_diverged_go_on(lines, top):
    assert robust_top(lines, [value for line in lines for value in line], True) == (top and pytest.approx(top))


def test_an_axis_of_what_may_rise_is_not_cut_off():
    rising = [[0.1, 0.5, 0.9], [0.1, 0.2, 0.4]]
    assert robust_top(rising, [0.9], False) is None
    assert robust_top([*rising, [0.1, 0.2, 1e5]], [1e5], False) == pytest.approx(0.9 + 0.15 * 0.8)


def test_the_chart_says_what_it_cuts_off(arm, compared, chart):
    arm("lstm", {1: 1.5, 2: 1.52})
    first, _ = arm("transformer", {1: 1.4, 2: 1.41})
    assert chart(loss_curves(compared()), "curve-train-loss").y.top is None
    rows = [json.loads(line) for line in first.metrics.read_text().splitlines()]
    rows[-3]["train/loss"] = 1e6
    first.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = chart(loss_curves(compared()), "curve-train-loss")
    assert 1 < found.y.top < 50
    assert "higher values, of transformer, are cut off" in found.note
    assert max(value for series in found.series for value in series.high) == 1e6, "the numbers are all there"
