"""Steps whose loss is not finite or jumps, and micro-batches that do not fit: what the run does, and what it leaves."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lmlab.config.build import build
from lmlab.config.experiment import Experiment
from lmlab.data.order import step_seed
from lmlab.runs.checkpoints import saved
from lmlab.runs.files import numbers, read_jsonl
from lmlab.runs.run import Run
from lmlab.training.preflight import build_model, open_task

pytestmark = pytest.mark.slow

WRONG = '''
import os, signal
import pytorch_lightning as pl
import torch

class WrongLoss(pl.Callback):
    """Multiplies the loss of one rank's first micro-batch by ``factor``, where it is of the data's ``steps``.

    And, with ``ruin``, makes the weights worse before every step once something was rolled back.
    """

    def __init__(self, steps: list[int], factor: float, rank: int, ruin: bool) -> None:
        self.steps, self.factor, self.rank, self.ruin = steps, factor, rank, ruin

    def on_train_start(self, trainer, pl_module):
        right = pl_module.objective.terms

        def terms(model, batch):
            result = right(model, batch)
            return result._replace(loss=result.loss * self.factor) if self.now else result

        pl_module.objective.terms = terms

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        place = (self.rank, trainer.world_size, 0, trainer.accumulate_grad_batches)
        wrong = [trainer.datamodule.task.training_batch(step, *place).tokens for step in self.steps]
        self.now = any(torch.equal(batch.tokens, tokens) for tokens in wrong)
        if self.ruin and trainer.datamodule.left_out:
            for parameter in pl_module.parameters():
                parameter.data.mul_(3)

class SmallMemory(pl.Callback):
    """Has no memory for more than ``rows`` sequences: on one rank, in training from step ``since`` on."""

    def __init__(self, rows: int, since: int, rank: int, validating: bool) -> None:
        self.rows, self.since, self.rank, self.validating = rows, since, rank, validating

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step >= self.since and trainer.global_rank == self.rank and not self.validating:
            self.check(batch.tokens)

    def on_fit_start(self, trainer, pl_module):
        def look(model, given):
            if trainer.validating:
                self.check(given[0])

        if self.validating:
            pl_module.model.register_forward_pre_hook(look)

    def check(self, tokens):
        if len(tokens) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
'''


@pytest.fixture
def ask(lmlab, small, tmp_path):
    """Ask for a run with ``option`` of the callbacks above; again as long as it says that it goes on by itself."""
    (tmp_path / "wrong.py").write_text(WRONG)
    folder = tmp_path / "own" / "callbacks"
    folder.mkdir(parents=True)
    wrong_loss = "_target_: wrong.WrongLoss, steps: [], factor: .nan, rank: 0, ruin: false"
    small_memory = "_target_: wrong.SmallMemory, rows: 2, since: 0, rank: 0, validating: false"
    for name, node in (("wrong_loss", wrong_loss), ("small_memory", small_memory)):
        (folder / f"{name}.yaml").write_text(f"defaults: [default, _self_]\n{name}: {{{node}}}\n")

    def asked(option: str, *arguments: str, outputs: Path = tmp_path / "outputs") -> tuple[str, Run]:
        said = ""
        every = ["--config-dir", "own", *small, f"callbacks={option}", "logger=[]", *arguments]
        for _ in range(6):
            done = lmlab("train", *every, check=False, LMLAB_OUTPUTS=str(outputs))
            said += done.stdout + done.stderr
            assert outputs.exists(), said
            (manifest,) = outputs.glob("runs/*/run.json")
            if done.returncode == 0 or "last checkpoint" not in done.stderr.splitlines()[-1]:
                break
        assert "Traceback" not in said, said
        return said, Run(manifest.parent)

    return asked


def by_hand(
    run: Run, places: list[int], skipped: list[int], accumulate: int = 1, steps: int | None = None
) -> dict[str, torch.Tensor]:
    """The weights after a plain loop over the batches at ``places``, without the updates of the steps ``skipped``.

    Args:
        steps: how many the schedule is for, if the loop ends before.
    """
    config = run.config
    experiment = Experiment.of(config)
    source = open_task(experiment)
    torch.manual_seed(step_seed(config["seed"], -1, 0))
    model = build_model(experiment, source)
    optimizer = build(config["optimizer"])(model)
    objective, schedule = build(config["objective"]), build(config["scheduler"])
    for step, place in enumerate(places):
        optimizer.zero_grad()
        for micro in range(accumulate):
            terms = objective.terms(model, source.training_batch(place, 0, 1, micro, accumulate))
            (terms.share * terms.loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config["optimizer"]["lr"] * schedule(step, steps or len(places))
        if step not in skipped:
            optimizer.step()
    return model.state_dict()


def assert_weights(file: Path, expected: dict[str, torch.Tensor]) -> None:
    for name, weight in load_file(file).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-6)


def events(run: Run) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "time"} for row in numbers(read_jsonl(run.events))]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_skipped_step_leaves_no_trace_in_the_weights(devices, ask):
    distributed = ["trainer=ddp", "trainer.accelerator=cpu", f"callbacks.wrong_loss.rank={devices - 1}"]
    said, run = ask(
        "wrong_loss",
        *(distributed if devices == 2 else []),
        *("model=lstm", "callbacks.bad_steps.not_finite=skip", "callbacks.wrong_loss.steps=[3,7]"),
        f"trainer.accumulate={2 // devices}",
    )
    assert run.status == "finished"
    assert said.count("skipping the step") == 1, "once on the terminal, every time in the log"
    assert run.log.read_text().count("skipping the step") == 2
    assert [(row["step"], row["what"], row["done"]) for row in events(run)] == [
        (4, "not_finite", "skip"),
        (8, "not_finite", "skip"),
    ]
    assert all(math.isnan(row["loss"]) and math.isnan(row["gradient_norm"]) for row in events(run))
    counted = {row["step"]: row["train/bad_steps"] for row in read_jsonl(run.metrics) if "train/bad_steps" in row}
    assert counted == {step: (step > 3) + (step > 7) for step in range(1, 11)}
    assert_weights(run.weights, by_hand(run, list(range(10)), [3, 7], accumulate=2))


def test_a_run_stops_at_a_step_that_is_not_finite(ask):
    said, run = ask("wrong_loss", "model=lstm", "callbacks.wrong_loss.steps=[6]", "callbacks.checkpoint.every=5")
    assert run.status == "failed"
    assert "diverged at step 7: the loss is nan and the gradient norm nan" in said.splitlines()[-1]
    assert max(saved(run.checkpoints)) == 5
    said, run = ask("wrong_loss", "model=lstm", "callbacks.wrong_loss.steps=[6]", "callbacks.checkpoint.every=5")
    assert [row["step"] for row in events(run)] == [7], "what is done again is recorded once"


@pytest.mark.parametrize("options", [[], ["callbacks.bad_steps.not_finite=null"], ["~callbacks.bad_steps"]])
def test_a_run_that_diverges_says_so_and_never_reaches_the_sampler(lmlab, small, tmp_path, options):
    options = [*options, "optimizer.lr=1e10", "model=lstm", "logger=[]"]
    done = lmlab("train", *small, *options, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"lmlab train: diverged at step \d+: .*\(details: .*\)", done.stderr.splitlines()[-1])
    (run,) = (Run(path.parent) for path in tmp_path.glob("outputs/runs/*/run.json"))
    assert run.status == "failed" and "diverged at step" in run.manifest["attempts"][-1]["error"]

    def refuse(token):
        pytest.fail(f"{token} is no JSON")

    for path in [*run.path.glob("*.json"), *run.path.glob("*.jsonl")]:
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=refuse)


def test_a_spike_rolls_back_to_the_last_checkpoint_and_past_the_data_since(ask):
    options = ["callbacks.wrong_loss.steps=[6]", "callbacks.wrong_loss.factor=3", "callbacks.checkpoint.every=4"]
    options += [f"callbacks.bad_steps.{option}" for option in ("spike=roll_back", "window=3", "threshold=20")]
    _, run = ask("wrong_loss", "model=lstm", *options)
    assert run.status == "finished"
    (event,) = events(run)
    assert (event["step"], event["what"], event["done"], event["to"]) == (7, "spike", "roll_back", 4)
    assert event["loss"] > event["limit"]
    assert [row["step"] for row in read_jsonl(run.metrics) if "train/loss" in row] == list(range(1, 11))
    assert_weights(run.weights, by_hand(run, [0, 1, 2, 3, 7, 8, 9, 10, 11, 12], []))


def test_the_best_weights_are_none_of_a_stretch_that_was_rolled_back(ask):
    """Every validation is better than the one before it; what comes after the roll-back is worse than all."""
    options = ["callbacks.checkpoint.every=4", "callbacks.bad_steps.not_finite=roll_back", "validation.times=10"]
    options += ["callbacks.wrong_loss.steps=[6]", "callbacks.wrong_loss.ruin=true"]
    _, run = ask("wrong_loss", "model=lstm", *options)
    assert [(row["step"], row["to"]) for row in events(run)] == [(7, 4)]
    losses = {row["step"]: row["validation/loss"] for row in read_jsonl(run.metrics) if "validation/loss" in row}
    assert min(losses, key=losses.get) == 4
    assert_weights(run.best, by_hand(run, [0, 1, 2, 3], [], steps=10))


LONG = ["budget.tokens=12_800", "validation.times=4", "callbacks.checkpoint.every=20", "log_every=3"]  # 200 steps


def test_a_run_that_was_killed_after_a_roll_back_ends_bit_identical(ask, small, tmp_path):
    options = ["model=lstm", "batch.carry_state=true", *LONG, "callbacks.wrong_loss.steps=[30,50,71]"]
    options += ["callbacks.bad_steps.not_finite=roll_back"]
    _, first = ask("wrong_loss", *options, outputs=tmp_path / "undisturbed")
    killed = tmp_path / "killed"
    for step in (25, 45, 100):
        command = [sys.executable, "-m", "lmlab", "train", "--config-dir", "own", *small, "callbacks=wrong_loss"]
        process = subprocess.Popen(
            [*command, "logger=[]", *options],
            env=os.environ | {"LMLAB_OUTPUTS": str(killed)},
            cwd=tmp_path,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            rows = [row for path in killed.glob("runs/*/metrics.jsonl") for row in read_jsonl(path)]
            if rows and rows[-1]["step"] >= step:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
    _, second = ask("wrong_loss", *options, outputs=killed)
    assert first.status == second.status == "finished"
    assert [(row["step"], row["to"]) for row in events(first)] == [(31, 20), (40, 20), (41, 40)]
    assert str(events(first)) == str(events(second)), "as text: NaN is not equal to itself"
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert rows_without_times(first) == rows_without_times(second)
    assert read_jsonl(first.samples) == read_jsonl(second.samples)


def rows_without_times(run: Run) -> list[dict]:
    return [{name: value for name, value in row.items() if "time/" not in name} for row in read_jsonl(run.metrics)]


def test_a_micro_batch_that_does_not_fit_is_halved_and_the_steps_stay_the_same(ask, tmp_path):
    common = ["model=transformer", "model.dropout=0.1", "callbacks.checkpoint.every=3"]
    since = [*common, "callbacks.small_memory.since=5"]
    said, halved = ask("small_memory", *since)
    assert halved.status == "finished"
    assert "step 6: training on 4 sequences of 16 tokens does not fit into memory; resuming" in said
    assert events(halved) == [{"step": 6, "what": "out_of_memory", "done": "halve", "where": "training", "rows": 4}]
    assert halved.manifest["training"]["accumulate"] == 2
    # The same by hand: the run fails, and is told to use smaller micro-batches from its checkpoint on.
    said, other = ask("small_memory", *since, "trainer.out_of_memory=fail", outputs=tmp_path / "other")
    assert other.status == "failed"
    assert other.path.name == halved.path.name, "what is done about memory asks for no other result"
    assert "trainer.out_of_memory=halve uses smaller micro-batches" in said.splitlines()[-1]
    ask("small_memory", *since, "trainer.out_of_memory=fail", "trainer.accumulate=2", outputs=tmp_path / "other")
    assert other.status == "finished"
    assert other.weights.read_bytes() == halved.weights.read_bytes()
    assert [row["step"] for row in read_jsonl(halved.metrics) if "validation/loss" in row] == [2, 4, 6, 8, 10]


def test_one_rank_without_memory_halves_the_micro_batches_of_all(ask):
    distributed = ["trainer=ddp", "trainer.accelerator=cpu", "callbacks.small_memory.rank=1"]
    _, run = ask("small_memory", "model=lstm", *distributed, "callbacks.small_memory.rows=1", "trainer.devices=2")
    assert run.status == "finished"
    assert run.manifest["training"]["accumulate"] == 2
    assert_weights(run.weights, by_hand(run, list(range(10)), [], accumulate=4))


def test_validation_batches_that_do_not_fit_are_scored_in_parts(ask, tmp_path):
    _, run = ask("small_memory", "model=lstm", "callbacks.small_memory.validating=true")
    assert [(row["where"], row["rows"]) for row in events(run)] == [("validating", 4)]
    _, whole = ask("small_memory", "model=lstm", "callbacks.small_memory.rows=4", outputs=tmp_path / "large")
    assert whole.weights.read_bytes() == run.weights.read_bytes()
    assert whole.manifest["metrics"] == pytest.approx(run.manifest["metrics"], rel=1e-6)
