from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.training.module import LanguageModeling, step_seed

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
