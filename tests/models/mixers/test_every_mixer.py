"""What holds for every file under conf/model/mixer, whatever it computes."""

import pytest
import torch
from model_sections import model_section

from lmlab.config.build import build
from lmlab.config.options import options_of
from lmlab.models.block import mix

B, T, D = 1, 5, 8


@pytest.mark.parametrize("name", options_of("mixer"))
def test_gradients_are_those_of_finite_differences(name):
    """With respect to the input, every parameter and, for what is read after it, the carried state."""
    torch.manual_seed(0)
    mixer = build(model_section("model=lstm", f"mixer={name}")["mixer"])(D).double().eval()
    for parameter in mixer.parameters():  # away from zeros, where functions may have corners
        parameter.data += 0.1 * torch.randn_like(parameter)
    x_BTD = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    small = [parameter for parameter in mixer.parameters() if parameter.numel() <= 64]

    def whole(x_BTD: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        y_BTD, state, _ = mix(mixer, x_BTD[:, :2], None)
        return torch.cat([y_BTD, mixer(x_BTD[:, 2:], state)[0]], 1)

    assert torch.autograd.gradcheck(whole, (x_BTD, *small), atol=1e-6)
