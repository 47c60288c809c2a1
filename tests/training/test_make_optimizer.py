import pytest
import torch

from lmlab.training.make_optimizer import make_optimizer


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad"])
def test_torch_s_own_optimizers_are_given_the_parameters_that_are_trained(name):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[0].requires_grad_(False)
    made = make_optimizer({"_target_": f"torch.optim.{name}", "_partial_": True, "lr": 0.5}, model)
    assert type(made) is getattr(torch.optim, name) and made.defaults["lr"] == 0.5
    (group,) = made.param_groups
    assert [id(weight) for weight in group["params"]] == [*map(id, model[1].parameters())]


def test_lmlab_s_are_called_with_the_network():
    section = {"_target_": "lmlab.training.optimizers.sgd", "_partial_": True, "lr": 0.5}
    made = make_optimizer(section | {"momentum": 0.0, "weight_decay": 0.0}, torch.nn.Linear(2, 3))
    assert [len(group["params"]) for group in made.param_groups] == [1, 1]  # matrices, which decay, and vectors
