"""A row for every arm: the mean of its runs, and Student's interval computed by hand."""

import math
import statistics
import sys
from typing import Any

import pytest
from synthetic_runs import EXACT_MATCH

from lmlab.analysis.records import Record
from lmlab.commands.by_arm import over_seeds, show_by_arm, show_grid
from lmlab.commands.results import show_side_by_side
from lmlab.metrics import Measures, Metric
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


@pytest.fixture
def make_run(tmp_path):
    def make(task: str, model: str, seed: int, value: float, width: int = 8, **fields: Any) -> Run:
        config = {"name": f"{model}-{task}", "seed": seed, "tags": [], "model": {"width": width}, "data": {}}
        run = Run(tmp_path / f"{task}-{model}-{seed}-{width}")
        metrics = {"validation/accuracy": value, "longer/accuracy": value / 2}
        data = {"name": task, "licence": "generated"}
        fields = {"metrics": metrics, "data": data, "choices": {"model": model, "data": task}} | fields
        run.create(config, run.path.name, **fields)
        return run

    return make


def test_a_cell_is_mean_and_sample_standard_deviation(make_run):
    values = [0.5, 0.75, 1.0]
    runs = [make_run("parity", "lstm", seed, value) for seed, value in enumerate(values)]
    spread = statistics.stdev(100 * value for value in values)
    records = [Record.of(run) for run in runs]
    assert over_seeds(records, "validation/accuracy") == f"75.0 ± {spread:.1f}"
    assert over_seeds(records[:1], "longer/accuracy") == "25.0"
    assert over_seeds(records, "validation/accuracy", with_count=True).endswith("(3)")
    assert over_seeds([], "validation/accuracy") == ""


def test_the_grid_is_of_the_metric_that_the_runs_record(make_run, capsys):
    fields = {"measures": EXACT_MATCH.to_record(), "metrics": {"validation/exact_match": 0.25, "validation/loss": 9.0}}
    show_grid([make_run("backwards", model, 1, 0.0, **fields) for model in ("lstm", "gru")])
    text = capsys.readouterr().out
    assert "Exact match in % at the length of training" in text and text.count("25.0") == 2
    assert "longer" not in text and "lmlab evaluate run=... split=validation" in text
    plain = Measures("validation/steps", ("validation/steps",), {"steps": Metric("steps", "steps", "lower", "{:.2f}")})
    fields = {"measures": plain.to_record(), "metrics": {"validation/steps": 3.0}}
    show_grid([make_run("walk", model, 1, 0.0, **fields) for model in ("lstm", "gru")])
    text = capsys.readouterr().out
    assert "\nSteps at the length of training: mean" in text and text.count("3.00") == 2


def test_the_grid_has_a_row_for_every_task_and_option_and_says_n(make_run, capsys):
    runs = [make_run("parity", model, seed, 0.5) for model in ("lstm", "gpt2") for seed in (1, 2)]
    show_grid([*runs, *(make_run("copying", model, seed, 0.25) for model in ("lstm", "gpt2") for seed in (1, 2))])
    text = capsys.readouterr().out
    assert "n = 2 runs in every cell" in text and "50.0 ± 0.0" in text and "25.0 ± 0.0" in text and "12.5 ± 0.0" in text
    show_grid([*runs, make_run("parity", "lstm", 1, 1.0, width=16)])
    text = capsys.readouterr().out
    assert "model.width=16" in text and "model.width=8" in text and "number of runs in brackets" in text


@pytest.fixture
def of_tasks(tmp_path):
    """Return runs of a mixture of two tasks by their scores, with the same baselines."""
    metrics = [Metric("f1", "F1", "higher", "{:.1f}"), Metric("bits_per_byte", "bits/byte", "lower", "{:.2f}")]
    measures = {"primary": "questions/f1", "shown": ["questions/f1", "text/bits_per_byte"]}
    measures |= {"metrics": [metric._asdict() for metric in metrics]}
    baselines = {
        "questions": {"most frequent answer": {"f1": 5.0}, "first sentence": {"f1": 7.0}},
        "text": {"token frequencies": {"bits_per_byte": 3.0}},
    }

    def make(model: str, seed: int, f1: float, bits: float, **fields: Any) -> Record:
        config = {"name": f"{model}-mixture", "seed": seed, "tags": [], "model": {"kind": model}, "data": {}}
        config |= {"validation": {"tokens": None}}
        run = Run(tmp_path / f"{model}-{seed}")
        scores = {"metrics": {"questions/f1": f1, "text/bits_per_byte": bits}, "measures": measures, "timings": {}}
        about = {"sizes": {}, "data": {"name": "mixture", "licence": "own"}, "baselines": baselines}
        run.create(config, run.path.name, choices={"model": model, "data": "mixture"}, **scores | about | fields)
        return Record.of(run)

    return make


def test_arms_stand_beside_the_trivial_baselines_of_each_task(of_tasks, capsys):
    runs = [of_tasks("lstm", seed, f1, 2.0) for seed, f1 in enumerate([6.8, 7.2, 7.6])]
    runs += [of_tasks("gru", seed, f1, 3.5) for seed, f1 in enumerate([9.0, 9.1, 9.2])]
    assert show_by_arm(runs, "the validation split")
    table, _, after = capsys.readouterr().out.partition("*:")
    half = [T_OF_TWO_DEGREES * statistics.stdev(values) / math.sqrt(3) for values in ([9.0, 9.1, 9.2], [6.8, 7.2, 7.6])]
    assert rows(table) == [
        ["gru", "9.1", "±", f"{half[0]:.1f}", "*", "3.50", "±", "0.00", "3"],
        ["lstm", "7.2", "±", f"{half[1]:.1f}", "2.00", "±", "0.00", "*", "3"],
        ["most", "frequent", "answer", "5.0"],
        ["first", "sentence", "7.0"],
        ["token", "frequencies", "3.00"],
    ], "the mean of lstm is above 7, but its interval is not"
    assert "gru beats them on 1 of 2 tasks: questions" in after and "lstm beats them on 1 of 2 tasks: text" in after
    assert "No model" not in after


def test_a_task_on_which_no_model_is_better_is_named(of_tasks, capsys):
    runs = [of_tasks("lstm", 1, 6.9, 3.1), of_tasks("gru", 1, 6.0, 2.9)]
    assert show_by_arm(runs, ""), "also if every arm has one run"
    out = capsys.readouterr().out
    assert "No model beats the first sentence on questions: F1 7.0" in out
    assert "lstm beats them on 0 of 2 tasks\n" in out and "gru beats them on 1 of 2 tasks: text" in out


def test_baselines_on_different_data_are_not_shown(of_tasks, capsys):
    other = {"text": {"token frequencies": {"bits_per_byte": 2.5}}}
    runs = [of_tasks("lstm", 1, 6.9, 2.1), of_tasks("lstm", 2, 6.9, 2.1), of_tasks("gru", 1, 6.0, 2.9, baselines=other)]
    assert show_by_arm(runs, "")
    assert "token frequencies" not in capsys.readouterr().out
