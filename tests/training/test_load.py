import pytest
import torch
from safetensors.torch import save_model

from lmlab.errors import UserError
from lmlab.training.load import load_weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 5e29])
def test_weights_that_are_no_numbers_are_refused_in_one_line(tmp_path, value):
    network, path = torch.nn.Linear(2, 3), tmp_path / "model.safetensors"
    with torch.no_grad():
        network.bias[1] = value
    save_model(network, str(path))
    loaded = torch.nn.Linear(2, 3)
    if value == 5e29:
        load_weights(loaded, path)
        assert torch.equal(loaded.bias, network.bias)
    else:
        with pytest.raises(UserError, match="weights are NaN or infinite because the run diverged") as refused:
            load_weights(loaded, path)
        assert str(path) in str(refused.value) and "\n" not in str(refused.value)
