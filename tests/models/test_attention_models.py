"""Scales and operations of the models with attention, as they are shipped."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmlab.models.sizes import flops_per_token

MODELS = ["model=transformer_2017", "model=moe", "model=sliding_window", "model=llama"]


@pytest.mark.parametrize("overrides", MODELS)
def test_the_scale_of_logits_and_gradients_depends_little_on_depth(make_model, overrides):
    logits, ratios = [], []
    for depth in (2, 16):
        model = make_model(overrides, "model.width=64", f"model.depth={depth}", vocabulary=200)
        tokens = torch.randint(200, (4, 17), generator=torch.Generator().manual_seed(0))
        hidden = model(tokens[:, :-1]).hidden
        logits.append(model.head.linear(hidden).std().item())
        model.head.cross_entropy(hidden.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        first, last = model.blocks[0].mixer.projection_in.weight, model.blocks[-1].mixer.projection_in.weight
        ratios.append(first.grad.norm().item() / last.grad.norm().item())
    assert max(logits) / min(logits) < 1.2
    assert min(ratios) > 0.2 and max(ratios) < 5  # neither vanishing nor exploding on the way down


@pytest.mark.parametrize("context", [32, 128, 150])
@pytest.mark.parametrize("overrides", MODELS)
@torch.no_grad()
def test_operations_agree_with_the_frameworks_counter(make_model, overrides, context):
    model = make_model(overrides, "model.width=64", vocabulary=1000, context=context)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        hidden = model(torch.zeros(2, context, dtype=torch.int64)).hidden
        model.head.log_probs(hidden)
    assert flops_per_token(model, context) == pytest.approx(counter.get_total_flops() / (2 * context), rel=1e-4)
