import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lmlab.errors import UserError
from lmlab.runs.run import Run
from lmlab.training.callbacks.ema import EMA


def averaged(network, decay, steps, accumulate=1, change=lambda weight: weight.add_(torch.randn_like(weight))):
    """Change the weights ``steps`` times under an average; return it and the weights of all steps, the first too."""
    ema, module = EMA(decay), SimpleNamespace(model=network)
    trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=accumulate)
    ema.on_train_start(trainer, module)
    weights = [[weight.detach().double().clone() for weight in network.parameters()]]
    for batch in range(steps * accumulate):
        if (batch + 1) % accumulate == 0:
            with torch.no_grad():
                for weight in network.parameters():
                    change(weight)
            trainer.global_step += 1
            weights.append([weight.detach().double().clone() for weight in network.parameters()])
        ema.on_train_batch_end(trainer, module, None, None, batch)
    return ema, weights


def expected(weights, decay):
    """The average by its definition, in float64."""
    means = weights[0]
    for step, now in enumerate(weights[1:], 1):
        kept = min(decay, (1 + step) / (10 + step))
        means = [kept * mean + (1 - kept) * weight for mean, weight in zip(means, now, strict=True)]
    return means


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_average_is_that_of_a_loop_in_float64(decay, accumulate):
    network = torch.nn.Linear(5, 4)
    ema, weights = averaged(network, decay, 60, accumulate)
    trained = [weight.detach().clone() for weight in network.parameters()]
    ema.exchange(network, True)
    ema.exchange(network, True)
    for weight, mean in zip(network.parameters(), expected(weights, decay), strict=True):
        torch.testing.assert_close(weight.double(), mean, rtol=1e-5, atol=1e-5)
    ema.exchange(network, False)
    assert all(map(torch.equal, network.parameters(), trained))


def test_weights_in_bfloat16_have_an_average_in_float32():
    """In bfloat16, small steps towards the weights would be lost."""
    network = torch.nn.Linear(5, 4).bfloat16()
    ema, weights = averaged(network, 0.99, 300, change=lambda weight: weight.fill_(1.0))
    for mean, reference in zip(ema.state_dict()["means"].values(), expected(weights, 0.99), strict=True):
        torch.testing.assert_close(mean.double(), reference, rtol=1e-5, atol=1e-5)


def test_shared_weights_are_averaged_once_and_frozen_ones_not():
    network = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    network.append(torch.nn.Linear(2, 2).requires_grad_(False))
    network[1].weight = network[0].weight
    ema, _ = averaged(network, 0.9, 5, change=lambda weight: weight + 1)
    assert list(ema.state_dict()["means"]) == ["0.weight"]


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2])
def test_a_decay_that_is_none_is_named(decay):
    with pytest.raises(UserError, match=rf"callbacks\.ema\.decay={decay}: expected a number in \[0, 1\)"):
        EMA(decay)


RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.accumulate=2"]


@pytest.mark.parametrize("devices", [[], pytest.param(RANKS, marks=pytest.mark.slow)])
def test_a_run_leaves_the_average_of_its_weights_and_what_it_scores(devices, lmlab, small, tmp_path):
    words = [
        "model=lstm",
        *small,
        *devices,
        "callbacks=ema",
        "callbacks.ema.decay=0.8",
        "optimizer.lr=0.05",
        "logger=[]",
    ]
    words += ["callbacks.checkpoint.every=1", "callbacks.checkpoint.keep=null", "validation.tokens=null"]
    done = lmlab("train", *words)
    assert "EMA bits/byte" in done.stdout
    (manifest,) = tmp_path.glob("outputs/runs/*/run.json")
    run = Run(manifest.parent)
    reference: dict[str, torch.Tensor] = {}
    for step in range(1, 11):
        state = torch.load(run.checkpoints / f"step-{step:08d}" / "state", weights_only=True)
        (means,) = (found["means"] for name, found in state["callbacks"].items() if name.startswith("EMA"))
        weights = {name: state["state_dict"][f"model.{name}"].double() for name in means}
        kept = min(0.8, (1 + step) / (10 + step))
        if step == 1:
            reference = {name: mean.double() for name, mean in means.items()}
        else:
            reference = {name: kept * reference[name] + (1 - kept) * weights[name] for name in means}
    saved = load_file(run.ema)
    for name, mean in reference.items():
        torch.testing.assert_close(saved[name].double(), mean, rtol=1e-5, atol=1e-6)
    scores = {}
    for checkpoint in ("final", "ema"):
        done = lmlab(
            "evaluate", f"run={run.id}", f"checkpoint={checkpoint}", "metrics=[fixed_window]", "accelerator=cpu"
        )
        row = [json.loads(line) for line in (run.path / "evaluations.jsonl").open()][-1]
        assert row["settings"]["checkpoint"] == checkpoint and ("EMA" in done.stdout) is (checkpoint == "ema")
        scores[checkpoint] = row["metrics"]["fixed_window"]["loss"]
    metrics = run.manifest["metrics"]
    assert metrics["validation/loss"] == pytest.approx(scores["final"], rel=1e-6)
    assert metrics["ema/loss"] == pytest.approx(scores["ema"], rel=1e-6)
    assert abs(scores["ema"] - scores["final"]) > 1e-3
    lmlab("generate", f"run={run.id}", "checkpoint=ema", "length=3", "accelerator=cpu")


def test_shards_have_no_average(lmlab, small):
    done = lmlab("train", *small, "callbacks=ema", "trainer.strategy=fsdp", check=False)
    assert done.returncode == 1 and "trainer.strategy=fsdp: not with callbacks=ema" in done.stderr
