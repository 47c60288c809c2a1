"""Runs that go on from other runs."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lmlab.config.experiment import Experiment
from lmlab.data.tokenizers import BPE, load_tokenizer
from lmlab.runs.files import read_jsonl
from lmlab.runs.lookup import all_runs
from lmlab.runs.run import Run
from lmlab.training.start import _of_vocabulary

STEPS = 10
TOKENS = STEPS * 64


@pytest.fixture
def train(lmlab, small, tmp_path):
    """Train a small run, with dropout, and return it; what the command is to be refused for is returned instead."""

    def trained(*words: str, outputs: str = "outputs", refused: bool = False) -> Run | str:
        folder = tmp_path / outputs
        before = set(all_runs(folder / "runs"))
        options = ["model=lstm", *small, "model.dropout=0.2", "logger=[]", "callbacks.samples=null"]
        done = lmlab("train", *options, *words, check=not refused, LMLAB_OUTPUTS=str(folder))
        new = set(all_runs(folder / "runs")) - before
        if refused:
            assert done.returncode == 1 and not new and len(done.stderr.splitlines()) == 1
            return done.stderr.removeprefix("lmlab train: ").strip()
        (run,) = new
        return run

    return trained


def losses(run: Run) -> list[float]:
    return [row["train/loss"] for row in read_jsonl(run.metrics) if "train/loss" in row]


def rates(run: Run) -> list[float]:
    return [row["train/learning_rate"] for row in read_jsonl(run.metrics) if "train/loss" in row]


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer=adamw"],
        pytest.param(["optimizer=muon", "trainer.accumulate=2"], marks=pytest.mark.slow),
        pytest.param(["optimizer=sgd", "optimizer.momentum=0.9", "batch.carry_state=true"], marks=pytest.mark.slow),
        pytest.param(["optimizer=nt_asgd", "optimizer.lr=99", "optimizer.patience=1"], marks=pytest.mark.slow),
    ],
)
def test_two_halves_are_the_whole_to_the_bit(options, train):
    """Also where the second is a cool-down, of a run that has it from the beginning."""
    options = [*options, "validation.times=1"] if "optimizer=nt_asgd" not in options else options
    whole = train(*options, "scheduler=constant", f"budget.tokens={2 * TOKENS}")
    first = train(*options, "scheduler=constant", f"budget.tokens={TOKENS}")
    goes_on = [f"start.run={first.id}", "start.optimizer=true", f"budget.tokens={TOKENS}"]
    second = train(*options, "scheduler=constant", *goes_on)
    assert losses(first) + losses(second) == losses(whole)
    if "optimizer=nt_asgd" not in options:  # which averages since a validation
        assert second.weights.read_bytes() == whole.weights.read_bytes()
    decays = ["scheduler=wsd", "scheduler.warmup=0", f"scheduler.decay={STEPS}"]
    with_decay = train(*options, *decays, f"budget.tokens={2 * TOKENS}")
    cooled = train(*options, "scheduler=cooldown", *goes_on)
    assert losses(first) + losses(cooled) == losses(with_decay)
    assert rates(first) + rates(cooled) == rates(with_decay) and rates(cooled)[-1] == 0
    recorded = second.manifest["start"]
    assert (recorded["run"], recorded["steps"], recorded["tokens"]) == (first.id, STEPS, TOKENS)
    assert recorded["flops"] == first.manifest["timings"]["flops"]
    assert second.config["start"]["run"] == first.id


@pytest.mark.slow
def test_a_child_needs_its_parent_no_more_and_does_not_depend_on_where_it_lay(train, lmlab, tmp_path):
    first = train("callbacks.checkpoint.every=2", "callbacks.checkpoint.keep=null", "scheduler=constant")
    moved = tmp_path / "elsewhere" / "parent"
    shutil.copytree(first.path, moved)
    goes_on = ["start.optimizer=true", "start.checkpoint=4", "scheduler=cooldown"]
    child = train(f"start.run={first.id[:6]}", *goes_on)
    other = train(f"start.run={moved}", *goes_on, outputs="others")
    assert child.id == other.id and child.weights.read_bytes() == other.weights.read_bytes()
    assert child.manifest["start"]["tokens"] == 4 * 64
    shutil.rmtree(first.path)
    done = lmlab("reproduce", f"run={child.id}", "progress=false")
    assert "The final weights are identical bit for bit." in done.stdout
    # A child of the child counts the tokens of both.
    grandchild = train(f"start.run={child.id}", "scheduler=cooldown")
    assert grandchild.manifest["start"]["tokens"] == 4 * 64 + TOKENS
    assert grandchild.manifest["start"]["position"] == 4 + STEPS


@pytest.mark.slow
def test_weights_alone_begin_with_a_fresh_optimizer(train):
    first = train("callbacks=ema", "optimizer.lr=0.05")
    for checkpoint, weights in (("final", first.weights), ("best", first.best), ("ema", first.ema)):
        child = train(f"start.run={first.id}", f"start.checkpoint={checkpoint}", "optimizer.lr=0.0")
        expected, kept = load_file(weights), load_file(child.weights)
        assert all((kept[name] == expected[name]).all() for name in expected)
        assert not (child.start / "state").exists()


def test_what_a_run_cannot_begin_with_is_one_line_and_leaves_nothing(train):
    first = train("optimizer.weight_decay=0.1")
    start = f"start.run={first.id}"
    for words, message in {
        ("start.run=nothere",): "start.run=nothere: neither a directory nor the start of a run's id",
        (
            start,
            "start.checkpoint=7",
        ): f"start.checkpoint=7: {first.path} has no such checkpoint, there are steps 8, 10",
        (start, "start.checkpoint=ema"): f"start.checkpoint=ema: {first.path} has no such average",
        (start, "start.checkpoint=lats"): "start.checkpoint=lats: unknown (choose one of: best, ema, final, ",
        (start, "start.checkpoint=best", "start.optimizer=true"): "start.optimizer=true: there is no optimizer state",
        (start, "model.width=32"): f"model.width=32 (there 16): the weights of start.run={first.id} do not fit",
        (start, "tokenizer=character"): f"tokenizer: its tokens are not those of start.run={first.id}",
        (start, "start.optimizer=true", "optimizer=sgd"): "optimizer: start.optimizer=true needs that of ",
        (start, "start.optimizer=true", "optimizer.weight_decay=0.2"): "optimizer.weight_decay=0.2: with start.opt",
        (start, "start.optimizer=true", "trainer.strategy=fsdp"): "start.optimizer=true: not with trainer.strategy=fs",
        (start, "start.weights=1"): "start.weights: ",
    }.items():
        said = train(*words, refused=True)
        assert said.startswith(message), said
    state = first.checkpoints / "step-00000010" / "state"
    state.write_bytes(state.read_bytes()[:-1])
    said = train(start, "start.optimizer=true", refused=True)
    assert said.startswith("start.checkpoint=10: ") and "step-00000010 is damaged: state has" in said
    first.weights.write_bytes(first.best.read_bytes()[:-1])
    assert "the weights have changed since they were written" in train(start, refused=True)
    manifest = json.loads((first.path / "run.json").read_text())
    Path(first.path / "run.json").write_text(json.dumps(manifest | {"status": "failed"}))
    assert train(start, refused=True).startswith(f"{start}: {first.path.name} is failed; lmlab train finishes it")


@pytest.mark.slow
def test_a_parent_that_is_gone_is_missed_only_by_a_child_that_has_yet_to_begin(train, lmlab, small):
    first = train("scheduler=constant")
    child = train(f"start.run={first.id[:6]}", "scheduler=cooldown")
    parent = first.id
    shutil.rmtree(first.path)
    options = ["model=lstm", *small, "model.dropout=0.2", "logger=[]", "callbacks.samples=null"]
    for start in (parent[:6], first.path.name, str(first.path)):
        done = lmlab("train", *options, f"start.run={start}", "scheduler=cooldown")
        assert child.path.name in done.stdout and "recorded result" in done.stdout
    refused = train(f"start.run={parent[:6]}", "scheduler=cooldown", "seed=2", refused=True)
    assert refused == f"start.run={parent}: {first.path} is gone, and this run needs it to begin"
    assert train("start.run=nothere", refused=True).startswith("start.run=nothere: neither a directory nor ")


@pytest.mark.slow
def test_tokens_that_both_have_keep_their_embeddings(train, small, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the dog ran over a road and saw some naïve über birds\n" * 200, encoding="utf-8")
    bpe = ["tokenizer=bpe", "model.head.bias=true", "optimizer.lr=0.0"]
    first = train(*bpe, "tokenizer.size=280")
    words = [*bpe, "tokenizer.size=270", f"data.paths={other}"]
    start = [f"start.run={first.id}", "start.embeddings=overlap"]
    said = train(*words, start[0], refused=True)
    assert said.startswith(f"tokenizer: its tokens are not those of start.run={first.id}") and "overlap" in said
    child, fresh = train(*words, *start), train(*words)
    tokenizers = [load_tokenizer(run.tokenizer, BPE) for run in (first, child)]
    before, after = (tokenizer.types() for tokenizer in tokenizers)
    shared = child.manifest["start"]["embeddings"]
    assert shared == {"shared": len(set(before) & set(after)), "of": 270} and 257 <= shared["shared"] < 270
    old, new, drawn = (load_file(run.weights) for run in (first, child, fresh))
    for name in ("embedding.weight", "head.linear.bias"):
        for number, token in enumerate(after):
            expected = old[name][before.index(token)] if token in before else drawn[name][number]
            assert (new[name][number] == expected).all()
    others = [name for name in old if old[name].shape == new[name].shape]
    assert len(others) > 4 and all((new[name] == old[name]).all() for name in others)
    for option, message in {
        "start.optimizer=true": "start.embeddings=overlap: not with start.optimizer=true",
        "model.width=32": "model.width=32 (there 16): the weights of",
        "model.ngrams=[64]": "model.ngrams=[64]: not with start.embeddings=overlap",
        "start.embeddings=all": "start.embeddings=all: unknown value (did you mean 'null'?)",
    }.items():
        assert train(*words, *start, option, refused=True).startswith(message)


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["model=lstm"], {"embedding.weight": 1, "head.linear.weight": 1}),
        (
            [
                "model=awd_lstm_mos",
                "model.tie_embeddings=false",
                "model.head.factorised=false",
                "model.head.components=3",
            ],
            {"embedding.weight": 1, "head.linear.weight": 3, "head.linear.bias": 3},
        ),
    ],
)
def test_the_weights_with_rows_for_tokens_are_told_apart_by_building_two_networks(words, rows, compose):
    assert _of_vocabulary(Experiment.of(compose(*words, "model.width=16", "batch.context=4"))) == rows
