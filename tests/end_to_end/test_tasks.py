"""Generated tasks from the command line: trained, scored at two lengths, evaluated, and shown as a grid."""

import json

import pytest

from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs

pytestmark = pytest.mark.slow

LEARNS = ["model=lstm", "model.width=32", "model.depth=1", "batch.context=20", "batch.size=64", "optimizer.lr=1e-2"]


def test_a_recurrence_learns_parity_at_four_times_the_length(lmlab, small_task, tmp_path):
    budget = ["budget.tokens=640_000", "validation.times=1", "validation.tokens=null"]
    lmlab("train", *small_task, *LEARNS, *budget, "logger=[]")
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    metrics = run.manifest["metrics"]
    assert metrics["validation/accuracy"] > 0.99 and metrics["longer/accuracy"] > 0.99
    assert "validation/bits_per_byte" not in metrics
    # Evaluating again scores the same sequences; their length can be another one.
    lmlab("evaluate", f"run={run.id}", "split=longer")
    lmlab("evaluate", f"run={run.id}", "context=200")
    again, longer = read_jsonl(run.path / "evaluations.jsonl")
    assert again["metrics"]["answers"]["accuracy"] == metrics["longer/accuracy"]
    assert again["metrics"]["answers"]["tokens"] == 80 * 1000
    assert longer["settings"]["context"] == 200 and longer["metrics"]["answers"]["accuracy"] > 0.99
    answered = lmlab("generate", f"run={run.id}", "prompt=1 1 0 1", "length=1", "greedy=true")
    assert answered.stdout.split()[-1] == "1"  # zero, one, one, zero, one: the separator 0 came first
    refused = lmlab("evaluate", f"run={run.id}", "split=test", check=False)
    assert "split=test: " in refused.stderr and "no such split" in refused.stderr


def test_two_ranks_learn_a_task_as_one_does(lmlab, small_task, tmp_path):
    arguments = [*small_task, "model=transformer", "logger=[]"]
    lmlab("train", *arguments)
    lmlab("train", *arguments, "rerun=true", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    first, second = (read_jsonl(run.metrics) for run in all_runs(tmp_path / "outputs" / "runs"))
    for row, other in zip(first, second, strict=True):
        assert other == pytest.approx(row | {name: other[name] for name in other if name.startswith("time/")}, rel=1e-4)
    assert "longer/loss" in first[-1]


def test_diagnostics_sweep_by_themselves_and_end_in_a_grid(lmlab, tmp_path):
    small = ["model.width=16", "model.depth=1", "budget.tokens=8192", "validation.tokens=1000", "trainer.threads=1"]
    done = lmlab("train", "experiment=diagnostics", "data=parity,dyck", "seed=1,2", *small)
    runs = list(all_runs(tmp_path / "outputs" / "runs"))
    assert {(run.manifest["choices"]["model"], run.manifest["choices"]["data"]) for run in runs} == {
        (model, data) for model in ("lstm", "transformer") for data in ("parity", "dyck")
    }
    assert "n = 2 runs in every cell" in done.stdout and "on longer sequences" in done.stdout
    for name in ("parity", "dyck", "lstm", "transformer", "±"):
        assert name in done.stdout
    listed = json.loads(lmlab("runs", "format=json").stdout)
    assert len(listed) == 8 and all(row["longer_accuracy"] is not None for row in listed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=gpt2"], "data.longer: sequences of 64 tokens are scored, but the positions of this model end at"),
        (["tokenizer=byte"], "tokenizer: parity is a generated task"),
        (["tokenizer.size=7"], "tokenizer.size=7: parity has 2 symbols"),
        (["batch.carry_state=true"], "batch.carry_state=true: the sequences of parity do not continue"),
        (["data=recall", "batch.context=8"], "batch.context=8: expected at least 16"),
        (["data.answers=both"], "data.answers=both: unknown value"),
    ],
)
def test_what_a_task_cannot_have_is_refused_before_anything_is_left_behind(
    overrides, message, lmlab, small_task, tmp_path
):
    done = lmlab("train", *small_task, *overrides, check=False)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert not list(all_runs(tmp_path / "outputs" / "runs"))
