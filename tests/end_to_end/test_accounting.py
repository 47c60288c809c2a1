"""What a run that is done says of what it took, and of where the loss of its final weights comes from."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from lmlab.data.tasks import TextTask
from lmlab.models.sizes import flops_per_token, state_bytes
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.training.load import load_trained
from lmlab.training.preflight import open_task

pytestmark = pytest.mark.slow

CONTEXT = 16


def breakdown(run: Run) -> dict:
    return json.loads(run.breakdown.read_text())


@torch.no_grad()
def slow_breakdown(run: Run) -> dict[str, list[tuple[int, int, float]]]:
    """(``from``, tokens, loss) of every bin, a window and a token at a time, with the weights that the run has left."""
    trained = load_trained(run)
    source = open_task(trained.run.experiment)
    assert isinstance(source, TextTask)
    seen = Counter(source.corpus.tokens("train")[1:].tolist())
    stream = torch.from_numpy(source.corpus.tokens("validation")[: 256 + 1].astype("int64"))
    sums: dict[str, dict[int, list[float]]] = {"position": {}, "frequency": {}}
    for start in range(0, 256, CONTEXT):
        tokens, targets = stream[start : start + CONTEXT], stream[start + 1 : start + 1 + CONTEXT]
        hidden = trained.model(tokens[None], None).hidden
        nats = -trained.model.head.log_probs(hidden[0]).double()[torch.arange(len(targets)), targets]
        for position, (target, loss) in enumerate(zip(targets.tolist(), nats.tolist(), strict=True)):
            count = seen[target]
            for kind, first in (
                ("position", 1 << (position.bit_length() - 1) if position else 0),
                ("frequency", 10 ** (len(str(count)) - 1) if count else 0),
            ):
                sums[kind].setdefault(first, []).append(loss)
    return {
        kind: [(first, len(found), sum(found) / len(found)) for first, found in sorted(bins.items())]
        for kind, bins in sums.items()
    }


def assert_same(found: dict, other: dict) -> None:
    assert found.keys() == other.keys()
    for kind, rows in found.items():
        assert [row["tokens"] for row in rows] == [row["tokens"] for row in other[kind]]
        for row, expected in zip(rows, other[kind], strict=True):
            assert row == pytest.approx(expected, rel=1e-4)


def go_on(lmlab, arguments: list[str], run: Run) -> None:
    """Have a run finished that was killed between its last checkpoint and its end."""
    run.weights.unlink()
    run.breakdown.unlink()
    run.update(status="running")
    lmlab("train", *arguments)


def test_a_run_accounts_for_itself_also_when_it_is_killed_just_before_its_end(lmlab, small, tmp_path):
    arguments = [*small, "model=transformer", "logger=[]"]
    shown = lmlab("train", *arguments).stdout
    assert "peak memory" in shown and "generated tokens/s" in shown
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    manifest, found = run.manifest, breakdown(run)
    for kind, expected in slow_breakdown(run).items():
        rows = [(row["from"], row["tokens"], pytest.approx(row["loss"], rel=1e-5)) for row in found[kind]]
        assert rows == expected
    metrics = manifest["metrics"]
    for rows in found.values():
        assert sum(row["tokens"] for row in rows) == 256
    for kind in ("position", "frequency"):
        total = sum(row["tokens"] * row["loss"] for row in found[kind])
        assert total / 256 == pytest.approx(metrics["validation/loss"], rel=1e-12)
    error = sum(row["tokens"] * abs(row["confidence"] - row["accuracy"]) for row in found["calibration"]) / 256
    assert error == pytest.approx(metrics["validation/calibration_error"], rel=1e-9)

    model, timings = load_trained(run).model, manifest["timings"]
    assert timings["flops"] == 3 * flops_per_token(model, CONTEXT) * 640
    assert timings["flops_per_second"] == pytest.approx(timings["flops"] / timings["seconds"], rel=0.01)
    assert 1 << 26 < timings["peak_memory_bytes"] < 1 << 34
    assert timings["peak_memory"] == "resident set of the process"
    generation = manifest["generation"]
    assert generation["tokens_per_second"] > 0 and generation["prompt_tokens"] == CONTEXT // 2
    assert generation["state_bytes"] == state_bytes(model, CONTEXT // 2)
    assert manifest["checks"]["causal"] and manifest["checks"]["stepwise_agrees"]

    rows = read_jsonl(run.metrics)
    assert len(rows) == 15 and all(row["time/seconds"] > 0 for row in rows)
    assert sorted(row["time/seconds"] for row in rows) == [row["time/seconds"] for row in rows]

    go_on(lmlab, arguments, run)
    again = run.manifest
    assert breakdown(run) == found
    assert again["timings"]["seconds"] == timings["seconds"] and again["timings"]["flops"] == timings["flops"]
    # Not all of it: writing the last checkpoint, which cannot know of itself, takes memory as well.
    assert again["timings"]["peak_memory_bytes"] >= 0.98 * timings["peak_memory_bytes"]
    assert again["checks"] == manifest["checks"] and again["generation"].keys() == generation.keys()


def test_ranks_with_and_without_shards_come_to_the_same(lmlab, small, tmp_path):
    arguments = [*small, "model=lstm", "logger=[]"]
    ranks = ["trainer.accelerator=cpu", "trainer.devices=2"]
    lmlab("train", *arguments, "trainer=fsdp", *ranks)
    lmlab("train", *arguments, "rerun=true")
    lmlab("train", *arguments, "rerun=true", "trainer=ddp", *ranks)
    shards, one, two = all_runs(tmp_path / "outputs" / "runs")
    for run in (two, shards):
        assert_same(breakdown(run), breakdown(one))
        for name in ("checks", "generation", "timings"):
            assert run.manifest[name].keys() == one.manifest[name].keys()
        assert run.manifest["checks"]["stepwise_agrees"]
        assert run.manifest["timings"]["flops"] == one.manifest["timings"]["flops"]
    expected = breakdown(shards)
    go_on(lmlab, [*arguments, "trainer=fsdp", *ranks], shards)
    assert breakdown(shards) == expected


def test_a_task_that_stops_early_has_positions_and_no_frequencies(lmlab, small_task, tmp_path):
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0.0"]
    lmlab("train", *small_task, *early, "model=lstm", "logger=[]", "callbacks.samples.length=4")
    (run,) = all_runs(tmp_path / "outputs" / "runs")
    assert run.manifest["training"]["stopped_at"] < 10
    found = breakdown(run)
    assert found["frequency"] == []
    total = sum(row["tokens"] * row["loss"] for row in found["position"])
    tokens = sum(row["tokens"] for row in found["position"])
    assert tokens and total / tokens == pytest.approx(run.manifest["metrics"]["validation/loss"], rel=1e-12)
    assert tokens == sum(row["tokens"] for row in found["calibration"])
    assert (
        run.manifest["timings"]["flops"]
        == 3 * run.manifest["sizes"]["flops_per_token"] * 64 * (run.manifest["training"]["stopped_at"])
    )


LOOKS_AHEAD = """
import torch
from lmlab.models.mixers.gru import GRU

class Leaky(GRU):
    def forward(self, x, state=None):
        y, after = super().forward(x, state)
        return y + 0.1 * y.mean(1, keepdim=True), after
"""


def test_a_network_that_looks_ahead_is_trained_with_a_warning_that_stays(lmlab, small, tmp_path):
    (tmp_path / "leaky.py").write_text(LOOKS_AHEAD)
    (tmp_path / "own" / "model" / "mixer").mkdir(parents=True)
    own = "_target_: leaky.Leaky\n_partial_: true\n"
    (tmp_path / "own" / "model" / "mixer" / "leaky.yaml").write_text(own)
    done = lmlab("train", "--config-dir", "own", *small, "model=custom", "mixer=leaky", "channel=none", "logger=[]")
    (run,) = all_runs(Path(tmp_path) / "outputs" / "runs")
    checks = run.manifest["checks"]
    assert run.status == "finished"
    assert (checks["causal"], checks["stepwise_agrees"]) == (False, False) and checks["stepwise"] > 1e-3
    for said in (done.stderr, run.log.read_text()):
        assert "positions of this network see tokens after their own and reading one by one differs" in said
