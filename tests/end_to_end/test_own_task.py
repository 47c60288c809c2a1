"""A task of the user's own, one file and one YAML, whose metric is the exact match of decoded answers.

Trained, tuned, compared and reported without any other edit: everything goes by that metric.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from lmlab.runs.lookup import all_runs

TASK = '''
import numpy as np

from lmlab.data.judges import Decoded, MeanScore
from lmlab.data.synthetic import Generator
from lmlab.metrics import Metric

EXACT = Metric("exact_match", "exact match", "higher", "{:.1%}")


class Echo(Generator):
    """Two symbols and a sign; after it the two symbols again."""

    name, vocabulary = "echo", 4

    def generate(self, random, rows, length):
        pair = random.integers(0, 3, (rows, 2))
        inputs, targets = np.full((rows, length), 3), np.full((rows, length), -1)
        inputs[:, :2], inputs[:, 3], targets[:, 2:4] = pair, pair[:, 0], pair
        return inputs, targets

    def check(self, length):
        assert length >= 4

    def judges(self, tokenizer, context):
        return [Decoded(tokenizer, [MeanScore(EXACT, lambda answer, right: float(answer == right))], context)]
'''
YAML = "defaults: [override /tokenizer: symbols, _self_]\n_target_: echo_task.Echo\nlonger: null\n"
STUDY = """# @package _global_
defaults: [override /data: echo, override /trainer: cpu, override /logger: [], _self_]
study:
  question: Which echoes better?
  metric: null
  direction: null
  arms: {gru: [model=gru], lstm: [model=lstm]}
  tune: {optimizer.lr: "1e-3,1e-2"}
  trials: null
  seeds: [1, 2]
  equal: [data, budget]
  budget: null
"""
OPTIONS = ["model.width=16", "model.depth=1", "batch.size=16", "batch.context=4", "budget.tokens=6400"]
OPTIONS += ["validation.times=10", "validation.tokens=400", "trainer=cpu", "trainer.threads=1", "progress=false"]
METRIC = "validation/exact_match"

pytestmark = pytest.mark.slow


@pytest.fixture
def echo(lmlab, tmp_path):
    """Run a command in a folder with the task."""
    for name, text in {"echo_task.py": TASK, "conf/data/echo.yaml": YAML, "conf/experiment/echo.yaml": STUDY}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def run(command, *words):
        folder = ["--config-dir", "conf"] if command in ("train", "study") else []
        return lmlab(command, *folder, *words, cwd=tmp_path).stdout

    return run


def test_the_best_weights_and_the_end_are_chosen_by_the_metric(echo, tmp_path):
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=3", "callbacks.checkpoint.keep=null"]
    said = echo("train", "data=echo", "optimizer.lr=3e-2", "logger=[]", *OPTIONS, *early)
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert run.measures.primary == METRIC and "validation exact match" in said and "loss" not in said
    rows = [row for row in map(json.loads, run.metrics.read_text().splitlines()) if METRIC in row]
    scores = [row[METRIC] for row in rows]
    best = rows[scores.index(max(scores))]["step"]
    state = torch.load(run.checkpoints / f"step-{best:08d}" / "state", weights_only=True)["state_dict"]
    kept = load_file(run.best)
    assert kept and all(torch.equal(kept[name], state[f"model.{name}"]) for name in kept)
    stagnant = 0
    for end, score in enumerate(scores):
        stagnant = 0 if score > max(scores[:end], default=-1) else stagnant + 1
        if stagnant == 3:
            break
    assert stagnant == 3 and rows[end]["step"] == rows[-1]["step"], "after it, only the validation of the whole split"


def test_tables_sweeps_studies_evaluations_and_reports_go_by_the_metric(echo, tmp_path):
    said = echo("study", "experiment=echo", *OPTIONS)
    assert "Settings are chosen by: validation exact match" in said
    runs = [json.loads((run.path / "run.json").read_text()) for run in all_runs(tmp_path / "outputs" / "runs")]
    assert all(set(run["metrics"]) == {METRIC} for run in runs if run["status"] == "finished")
    listed = json.loads(echo("runs", "sort=exact_match", "format=json"))
    values = [row["metrics"][METRIC] for row in listed]
    assert values == sorted(values, reverse=True) and len(values) >= 6
    assert "exact match" in echo("runs")
    (study,) = (tmp_path / "outputs" / "reports").iterdir()
    echo("report", f"runs={study.name}", "formats=[markdown]")
    report = "".join(path.read_text() for path in (tmp_path / "outputs" / "reports").rglob("*.md"))
    assert "exact match" in report and "loss (nats" not in report
    best = echo("evaluate", f"run={listed[0]['id']}")
    assert "exact match" in best and f"{values[0]:.1%}" in best


def test_a_search_prunes_what_scores_lower(echo, tmp_path):
    pytest.importorskip("optuna")
    search = ["sweep=optuna", "sweep.trials=4", "sweep.pruner=median", "sweep.sampler=brute_force"]
    said = echo("train", *search, "data=echo", "logger=[]", "optimizer.lr=3e-2,1e-2,1e-3,1e-5", *OPTIONS)
    finished = [run for run in all_runs(tmp_path / "outputs" / "runs") if run.status == "finished"]
    best = max(run.manifest["metrics"][METRIC] for run in finished)
    assert f"validation exact match {best:.1%}" in said
