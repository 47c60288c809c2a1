"""At first, signals and gradients have the same scale whatever the depth, in every model as it is shipped."""

import pytest
import torch

pytestmark = pytest.mark.slow

DEPTHS = (2, 4, 8, 16)


def scales(make_model, shipped: str, depth: int) -> tuple[float, float]:
    """Standard deviation of the logits, and norm of the gradient that reaches the embedding through all layers."""
    # An untied embedding, for of a tied one's gradient the head's part is the larger and passes no layer.
    overrides = [shipped, "model.tie_embeddings=false", "model.width=64"]
    stacked = hasattr(make_model(*overrides).blocks[0].mixer, "layers")  # a mixer that is a stack by itself
    overrides += ["model.depth=1", f"model.mixer.layers={depth}"] if stacked else [f"model.depth={depth}"]
    model = make_model(*overrides, vocabulary=200)
    tokens_BT, targets_BT = torch.randint(200, (2, 4, 16), generator=torch.Generator().manual_seed(1))
    hidden_BTD = model(tokens_BT).hidden
    log_probs_BTV = model.head.log_probs(hidden_BTD)  # the logits less a constant for each token
    torch.nn.functional.nll_loss(log_probs_BTV.flatten(0, 1), targets_BT.flatten()).backward()
    return log_probs_BTV.std(-1).mean().item(), model.embedding.weight.grad.norm().item()


def test_the_scale_of_logits_and_gradients_depends_little_on_depth(make_model, shipped):
    if shipped == "model=hf":
        pytest.skip("the transformers library draws the weights of its models")
    for measured in zip(*(scales(make_model, shipped, depth) for depth in DEPTHS), strict=True):
        assert max(measured) < 3 * min(measured)


@pytest.mark.parametrize("mixer", ["mamba2", "min_gru"])
@torch.no_grad()
def test_without_a_residual_stream_nothing_is_scaled_down(make_model, mixer):
    scales = []
    for depth in DEPTHS:
        model = make_model(f"model=custom block=classic mixer={mixer}", "model.width=64", f"model.depth={depth}")
        scales.append(model(torch.randint(13, (4, 16)))[0].std().item())
    assert min(scales) > 1e-3, scales
