"""What the worker's validations leave in a run directory."""

import pytest
import torch

from lmlab.data.windows import evenly_spaced
from lmlab.runs.checkpoints import newest_good
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.training.load import load_trained
from lmlab.training.preflight import open_task

CONTEXT = 16


@torch.no_grad()
def loss(run: Run, which: str, numbers: list[int]) -> float:
    """Nats per token of the windows with these numbers, one after the other."""
    trained = load_trained(run, which)
    stream = torch.from_numpy(open_task(trained.run.experiment).corpus.tokens("validation").astype("int64"))
    nats = []
    for number in numbers:
        window = stream[number * CONTEXT : (number + 1) * CONTEXT + 1]
        hidden = trained.model(window[None, :-1], None).hidden
        nats += (-trained.model.head.log_probs(hidden[0]).double())[torch.arange(len(window) - 1), window[1:]].tolist()
    return sum(nats) / len(nats)


def validations(run: Run) -> list[tuple[int, float]]:
    return [(row["step"], row["validation/loss"]) for row in read_jsonl(run.metrics) if "validation/loss" in row]


def state(run: Run) -> dict:
    found = newest_good(run.checkpoints, print, lambda path: None)
    return torch.load(found.state, weights_only=False)["callbacks"]["Checkpoint"]


def only_run(folder) -> Run:
    (run,) = all_runs(folder / "outputs" / "runs")
    return run


def test_intermediate_validations_score_a_part_and_the_last_one_all(lmlab, small, tmp_path):
    # 640 tokens, and 4 validations before the last: a tenth of the training is 32 tokens, two windows of 16.
    lmlab("train", *small, "model=rnn", "logger=[]", "optimizer.lr=0.03")
    run = only_run(tmp_path)
    part, whole = [4, 12], list(range(16))
    assert evenly_spaced(2, 16).tolist() == part
    assert run.manifest["training"]["validation"] == {"validation": {"part": 2, "all": 16, "length": CONTEXT}}
    (*_, last) = validations(run)
    assert last == (10, pytest.approx(loss(run, "final", whole), rel=1e-5))
    assert run.manifest["metrics"]["validation/loss"] == last[1]
    assert state(run)["best"] == pytest.approx(loss(run, "best", part), rel=1e-5), "compared on what all score"


def test_without_a_share_every_validation_scores_all_and_training_is_the_same(lmlab, small, tmp_path):
    lmlab("train", *small, "model=rnn", "logger=[]", "name=part")
    lmlab("train", *small, "model=rnn", "logger=[]", "name=all", "validation.share=null")
    everything, part = sorted(all_runs(tmp_path / "outputs" / "runs"), key=lambda run: run.path.name)
    assert everything.id != part.id
    trained = [
        [row["train/loss"] for row in read_jsonl(run.metrics) if "train/loss" in row] for run in (everything, part)
    ]
    assert len(trained[0]) == 10 and trained[0] == trained[1]
    assert everything.manifest["metrics"] == pytest.approx(part.manifest["metrics"], rel=1e-5)
    first = validations(everything)[0][1], validations(part)[0][1]
    assert first[0] != first[1]


def test_a_run_that_ends_early_is_scored_on_all(lmlab, small, tmp_path):
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=9.0"]
    lmlab("train", *small, "model=rnn", "logger=[]", *early)
    run = only_run(tmp_path)
    *_, before, last = validations(run)
    assert before[0] == last[0] < 10
    assert last[1] == pytest.approx(loss(run, "final", list(range(16))), rel=1e-5)
    assert before[1] == pytest.approx(loss(run, "final", [4, 12]), rel=1e-5)
    assert run.manifest["metrics"]["validation/loss"] == last[1]
