import json
import math

import numpy as np
import pytest

from lmlab.analysis.report.content.breakdown import breakdown

POSITIONS = [(0, 1), (1, 2), (2, 4), (4, 8)]


def write(run, shift):
    rows = {
        "position": [{"from": a, "to": b, "tokens": 10, "loss": 3.0 - a / 10 + shift} for a, b in POSITIONS],
        "frequency": [{"from": a, "to": b, "tokens": 10, "loss": 5.0 - a / 9 + shift} for a, b in ((0, 1), (1, 10))],
        "calibration": [
            {"confidence": 0.1 + shift / 10, "accuracy": 0.12 + shift, "tokens": 5},
            {"confidence": 0.9, "accuracy": 0.8 + shift, "tokens": 5},
            {"confidence": 0.5, "accuracy": 0.0, "tokens": 0},
        ],
    }
    (run.path / "breakdown.json").write_text(json.dumps(rows))


def test_bins_are_averaged_over_seeds(arm, compared, chart):
    shifts = (0.0, 0.03, 0.06)
    for run, shift in zip(arm("lstm", {1: 1.5, 2: 1.5, 3: 1.5}), shifts, strict=True):
        write(run, shift)
    for run in arm("transformer", {1: 1.4}):
        write(run, -0.5)
    arm("gru", {1: 1.6})  # from before there were breakdowns
    section = breakdown(compared())
    position = chart(section, "loss-by-position")
    assert [series.name for series in position.series] == ["lstm", "transformer"] and position.x["position"].log
    lstm, transformer = position.series
    assert lstm.y == pytest.approx([3.0 - a / 10 + np.mean(shifts) for a, _ in POSITIONS])
    assert lstm.low == pytest.approx([3.0 - a / 10 for a, _ in POSITIONS])
    assert lstm.high == pytest.approx([3.06 - a / 10 for a, _ in POSITIONS])
    assert lstm.x["position"] == pytest.approx([1, 2, math.sqrt(3 * 4), math.sqrt(5 * 8)])  # tokens that are read
    assert transformer.low is None
    frequency = chart(section, "loss-by-frequency").series[0]
    assert frequency.x["frequency"] == pytest.approx([0.5, math.sqrt(1 * 9)])
    assert frequency.y == pytest.approx([5.03, 5.03 - 1 / 9])
    calibration, _, diagonal = chart(section, "calibration").series
    assert calibration.x["calibration"] == pytest.approx([0.103, 0.9])  # an empty bin is no point
    assert calibration.y == pytest.approx([0.15, 0.83])
    assert diagonal.x["calibration"] == diagonal.y == [0.0, 1.0]


def test_a_bin_that_a_seed_does_not_have_is_left_out(arm, compared, chart):
    runs = arm("lstm", {1: 1.5, 2: 1.5})
    for run in runs:
        write(run, 0.0)
    found = json.loads((runs[1].path / "breakdown.json").read_text())
    found["position"] = found["position"][:3]
    (runs[1].path / "breakdown.json").write_text(json.dumps(found))
    assert len(chart(breakdown(compared()), "loss-by-position").series[0].y) == 3


def test_what_cannot_be_read_is_named(arm, compared):
    (run,) = arm("lstm", {1: 1.5})
    (run.path / "breakdown.json").write_text('{"position": [')
    (warning,) = breakdown(compared()).parts
    assert warning.text == f"breakdown.json cannot be read: {compared().runs[0].label}."


def test_runs_without_a_breakdown(arm, compared):
    arm("lstm", {1: 1.5})
    assert breakdown(compared()) is None
