"""A row for every arm: the mean of its runs, and Student's interval computed by hand."""

import math
import statistics
import sys

import pytest

from lmlab.analysis.records import Record
from lmlab.commands.by_arm import show_by_arm
from lmlab.commands.results import show_side_by_side
from lmlab.runs.run import Run

T_OF_TWO_DEGREES = 4.302652729911275
"""The 97.5 % quantile of Student's t with two degrees of freedom, from a table."""


@pytest.fixture
def record(tmp_path):
    def make(model: str, seed: int, value: float, width: int = 8, **metrics: float) -> Record:
        config = {"name": f"{model}-text", "seed": seed, "tags": [], "model": {"width": width, "kind": model}}
        config |= {"validation": {"tokens": None}, "data": {}}
        run = Run(tmp_path / f"{model}-{seed}-{width}")
        metrics |= {"validation/bits_per_byte": value, "validation/loss": value / 2}
        fields = {"metrics": metrics, "timings": {}, "sizes": {}, "data": {"name": "text", "licence": "own"}}
        run.create(config, run.path.name, choices={"model": model, "data": "text"}, **fields)
        return Record.of(run)

    return make


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.split("───\n")[-1].splitlines() if line.strip()]


def test_arms_come_best_first_with_mean_interval_and_number(record, capsys):
    values = {"lstm": [2.0, 2.1, 2.4], "gru": [1.9, 2.0, 2.0]}
    runs = [record(model, seed, value) for model, own in values.items() for seed, value in enumerate(own)]
    assert show_by_arm(runs, "the validation split")
    text = capsys.readouterr().out
    assert "Results by arm on the validation split" in text and "bits/byte" in text
    expected = []
    for model in ("gru", "lstm"):
        mean = statistics.fmean(values[model])
        half = T_OF_TWO_DEGREES * statistics.stdev(values[model]) / math.sqrt(3)
        expected.append([model, f"{mean:.4f}", f"{mean - half:.4f}", "to", f"{mean + half:.4f}", "3"])
    assert rows(text) == expected


def test_an_arm_is_all_that_varies_but_the_seed(record, capsys):
    widths = [record("lstm", seed, 2.0 + width / 100, width) for width in (8, 16) for seed in (1, 2)]
    assert show_by_arm(widths, "")
    text = capsys.readouterr().out
    assert "model.width" in text and [row[0] for row in rows(text)] == ["8", "16"]
    assert show_by_arm(widths[:2], "")
    assert rows(capsys.readouterr().out)[0][0] == "lstm-text", "without other differences, the runs' name"


def test_where_every_arm_has_one_run_there_is_no_such_table(record, capsys):
    assert not show_by_arm([record("lstm", 1, 2.0), record("gru", 1, 2.0)], "")
    assert not show_by_arm([record("lstm", 1, 2.0)], "")
    assert capsys.readouterr().out == ""


def test_one_run_has_no_interval_and_an_arm_that_diverged_comes_last(record, capsys):
    runs = [record("lstm", 1, 2.0), record("lstm", 2, float("nan")), record("gru", 1, 3.0)]
    assert show_by_arm(runs, "")
    assert rows(capsys.readouterr().out) == [["gru", "3.0000", "1"], ["lstm", "nan", "2"]]


def test_without_scipy_the_means_stay(record, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    assert show_by_arm([record("lstm", 1, 2.0), record("lstm", 2, 3.0)], "")
    assert rows(capsys.readouterr().out) == [["lstm-text", "2.5000", "2"]]


def test_it_stands_above_the_single_runs(record, capsys):
    runs = [record("lstm", seed, 2.0 + seed).run for seed in (1, 2)]
    show_side_by_side(runs)
    text = capsys.readouterr().out
    assert text.index("Results by arm on the validation split") < text.index("Single runs, best first")
    show_side_by_side(runs[:1])
    text = capsys.readouterr().out
    assert "Results by arm" not in text and "Results on the validation split" in text
