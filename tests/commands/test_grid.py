"""The grid of accuracies says what was measured, how often, and how much it varied."""

import statistics

import pytest

from lmlab.commands.grid import accuracy, show_grid
from lmlab.runs.run import Run


@pytest.fixture
def make_run(tmp_path):
    def make(task: str, model: str, seed: int, value: float, width: int = 8) -> Run:
        config = {"name": f"{model}-{task}", "seed": seed, "tags": [], "model": {"width": width}, "data": {}}
        run = Run(tmp_path / f"{task}-{model}-{seed}-{width}")
        metrics = {"validation/accuracy": value, "longer/accuracy": value / 2}
        data = {"name": task, "licence": "generated"}
        run.create(config, run.path.name, metrics=metrics, data=data, choices={"model": model, "data": task})
        return run

    return make


def test_a_cell_is_mean_and_sample_standard_deviation(make_run):
    values = [0.5, 0.75, 1.0]
    runs = [make_run("parity", "lstm", seed, value) for seed, value in enumerate(values)]
    spread = statistics.stdev(100 * value for value in values)
    assert accuracy(runs, "validation") == f"75.0 ± {spread:.1f}"
    assert accuracy(runs[:1], "longer") == "25.0"
    assert accuracy(runs, "validation", with_count=True).endswith("(3)")
    assert accuracy([], "validation") == ""


def test_the_grid_has_a_row_for_every_task_and_option_and_says_n(make_run, capsys):
    runs = [make_run("parity", model, seed, 0.5) for model in ("lstm", "gpt2") for seed in (1, 2)]
    show_grid([*runs, *(make_run("copying", model, seed, 0.25) for model in ("lstm", "gpt2") for seed in (1, 2))])
    text = capsys.readouterr().out
    assert "n = 2 runs in every cell" in text and "50.0 ± 0.0" in text and "25.0 ± 0.0" in text and "12.5 ± 0.0" in text
    show_grid([*runs, make_run("parity", "lstm", 1, 1.0, width=16)])
    text = capsys.readouterr().out
    assert "model.width=16" in text and "model.width=8" in text and "number of runs in brackets" in text
