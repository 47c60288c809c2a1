"""The grid of accuracies says what was measured, how often, and how much it varied."""

import statistics
from typing import Any

import pytest
from synthetic_runs import EXACT_MATCH

from lmlab.analysis.records import Record
from lmlab.commands.grid import over_seeds, show_grid
from lmlab.metrics import Measures, Metric
from lmlab.runs.run import Run


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
