import json
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lmlab.data.judges.likelihood import LOSS
from lmlab.data.order import step_seed
from lmlab.errors import CannotGoOn, SkipStep
from lmlab.metrics import Measures
from lmlab.training.module import LanguageModeling
from lmlab.training.schedules import Plateau

places = st.tuples(st.integers(0, 2**31), st.integers(-1, 10**7), st.integers(0, 1024))


@given(places, places)
def test_no_two_steps_or_ranks_share_a_seed(first, second):
    assert (step_seed(*first) == step_seed(*second)) == (first == second)
    assert 0 <= step_seed(*first) < 2**63


def test_seeds_are_the_same_in_every_version():
    """A resumed run must draw what it would have drawn: these numbers may never change."""
    assert step_seed(1, 0, 0) == EXPECTED[0]
    assert step_seed(1, 7, 1) == EXPECTED[1]


EXPECTED = (2466958782982823997, 7219978460350452372)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_gradients_are_clipped_as_torch_clips_them(scale, limit):
    torch.manual_seed(0)
    network, twin = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        one.grad = scale * torch.randn_like(one)
        other.grad = one.grad.clone()
    module = SimpleNamespace(
        logs_at=lambda step: True,
        judge=None,
        global_step=0,
        trainer=SimpleNamespace(precision_plugin=None),
        model=network,
        _sums={},
    )
    LanguageModeling.configure_gradient_clipping(module, torch.optim.SGD(network.parameters(), 1.0), limit)
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), float("inf") if limit is None else limit)
    assert module._sums["gradient_norm"] == norm
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)


def test_scaled_gradients_are_unscaled_before_they_are_clipped():
    """As 16-bit training scales them; fused optimizers would unscale them only in their step."""
    network = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), 1.0, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    scaler.scale(network(torch.ones(2, 4)).sum()).backward()
    module = SimpleNamespace(
        logs_at=lambda step: True,
        judge=None,
        global_step=0,
        trainer=SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler)),
        model=network,
        _sums={},
    )
    LanguageModeling.configure_gradient_clipping(module, optimizer, 1e6)
    torch.testing.assert_close(network.weight.grad, torch.full((3, 4), 2.0))
    torch.testing.assert_close(module._sums["gradient_norm"], torch.tensor(60.0).sqrt())
    before = network.weight.detach().clone()
    scaler.step(optimizer)
    torch.testing.assert_close(network.weight, before - 2.0)


def test_a_validation_that_reduces_the_learning_rate_does_so_for_the_next_step_and_for_every_group():
    rates = {"lr": 0.5}, {"lr": 0.02}
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], **rate} for rate in rates]
    schedule = Plateau(factor=0.25)
    module = SimpleNamespace(schedule=schedule, optimizer=torch.optim.SGD(groups), total_steps=10, global_step=0)
    module.scoring = SimpleNamespace(cost=None)
    module.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"))
    module.weights_to = lambda mode: None
    module._apply_schedule = lambda: LanguageModeling._apply_schedule(module)
    factor = torch.optim.lr_scheduler.LambdaLR(module.optimizer, lambda step: schedule(step, 10))
    used = []
    for loss in (3.0, 3.0, 2.0, 2.5):
        used.append([group["lr"] for group in module.optimizer.param_groups])
        module.optimizer.step()
        module.global_step += 1
        factor.step()
        module.scoring.cost = loss
        LanguageModeling.on_validation_end(module)
    used.append([group["lr"] for group in module.optimizer.param_groups])
    assert used == [[0.5 * f, 0.02 * f] for f in (1, 1, 1 / 4, 1 / 4, 1 / 16)]


@pytest.mark.slow
def test_what_is_validated_and_kept_are_the_weights_that_the_optimizer_evaluates_at(lmlab, small, tmp_path):
    # A learning rate that makes the loss rise, so that averaging begins.
    settings = ["optimizer=nt_asgd", "optimizer.patience=1", "optimizer.lr=100.0", "scheduler=constant", "logger=[]"]
    lmlab("train", "model=lstm", *small, *settings)
    (run,) = (path.parent for path in tmp_path.glob("outputs/runs/*/run.json"))
    checkpoint = torch.load(run / "checkpoints" / "step-00000010" / "state", weights_only=True)
    final, trained = load_file(run / "model.safetensors"), checkpoint["state_dict"]
    (optimizer,) = checkpoint["optimizer_states"]
    losses = [
        row["validation/loss"] for row in map(json.loads, (run / "metrics.jsonl").open()) if "validation/loss" in row
    ]
    observed = list(optimizer["param_groups"][0]["losses"])
    assert len(observed) == len(losses) == 5
    assert observed[:-1] == losses[:-1], "and at last that of the part, where the row has that of all"
    averages = {
        tuple(state["average"].flatten()[:2].tolist()): state["average"] for state in optimizer["state"].values()
    }
    for name, weight in final.items():
        if weight.ndim == 2:
            assert torch.equal(weight, averages[tuple(weight.flatten()[:2].tolist())])
            assert not torch.equal(weight, trained[f"model.{name}"])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_without_a_loss_ends_the_run_with_the_step_at_which_it_was_first_seen(loss):
    measures = Measures("validation/loss", ("validation/loss",), {"loss": LOSS})
    module = SimpleNamespace(
        global_step=12, scoring=SimpleNamespace(splits=["validation", "longer"], measures=measures)
    )
    LanguageModeling._refuse_divergence(module, {"validation/loss": 5e29, "longer/loss": loss})
    for seen, step in ((None, 12), (7, 7)):
        module._diverged_at = seen
        message = rf"^diverged at step {step}: validation loss \(nats/token\) after step 12 is {loss}"
        with pytest.raises(CannotGoOn, match=message):
            LanguageModeling._refuse_divergence(module, {"validation/accuracy": 0.5, "validation/loss": loss})


@pytest.mark.parametrize("gradient", [1.0, float("inf")])
def test_a_skipped_step_in_16_bits_goes_on_with_the_scaler_as_a_step_would(gradient, monkeypatch):
    """A scaler refuses to look at a second gradient before it is told that the first has been dealt with."""
    network = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), 1.0, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def bad_step(module, optimizer):
        scaler.scale(network(torch.ones(2, 4)).sum() * gradient).backward()
        scaler.unscale_(optimizer)
        raise SkipStep

    monkeypatch.setattr(pl.LightningModule, "optimizer_step", bad_step)
    module = object.__new__(LanguageModeling)
    torch.nn.Module.__init__(module)
    module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    module._fabric = None
    module.carried = "left by the bad step"
    before = network.weight.detach().clone()
    for _ in range(2):
        module.optimizer_step(optimizer)
        optimizer.zero_grad()
    assert module.carried is None
    assert torch.equal(network.weight, before)
    assert scaler.get_scale() == (1024.0 if gradient == 1.0 else 256.0)
