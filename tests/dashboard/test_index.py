"""What is drawn of a run that grows."""

import json

import pytest

from lmlab.dashboard.index import Growing


def rows(*values, first=1):
    return "".join(
        json.dumps({"step": step, "tokens": 8 * step, "train/loss": value}) + "\n"
        for step, value in enumerate(values, start=first)
    )


def test_what_comes_is_drawn_and_what_is_the_same_is_drawn_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    growing = Growing(path, 6.0)
    assert not growing.read() or growing.drawn("train/loss", "tokens", 9) is None  # nothing is there yet
    path.write_text(rows(3.0, float("nan"), 2.0) + '{"step": 4, "tok')
    assert growing.read()
    first = growing.drawn("train/loss", "flops", 9)
    assert first == {"x": [48.0, 144.0], "y": [3.0, 2.0], "step": [1, 3]}
    assert not growing.read() and growing.drawn("train/loss", "flops", 9) is first
    path.write_text(rows(3.0, float("nan"), 2.0, 1.5))
    assert growing.read()
    assert growing.drawn("train/loss", "step", 9) == {"x": [1, 3, 4], "y": [3.0, 2.0, 1.5], "step": [1, 3, 4]}
    path.write_text(rows(3.0, float("nan"), 2.0, 1.5, *([1.0] * 40), 0.5))
    growing.read()
    thinned = growing.drawn("train/loss", "tokens", 9)
    assert len(thinned["x"]) <= 9 and thinned["x"] == [8 * step for step in thinned["step"]]


@pytest.mark.parametrize("axis", ["joules", "nowhere"])
def test_an_axis_that_is_not_known_gives_no_curve(tmp_path, axis):
    path = tmp_path / "metrics.jsonl"
    path.write_text(rows(2.0))
    growing = Growing(path, 6.0)
    growing.read()
    assert growing.drawn("train/loss", axis, 9) is None
