import copy
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from model_sections import model_section
from torch import nn

from lmlab.config.build import build
from lmlab.config.canonical import CONF, canonical
from lmlab.config.options import options_of
from lmlab.errors import UserError
from lmlab.training.optimizers import adam, adamw, muon, nt_asgd, sgd
from lmlab.training.optimizers.groups import make_optimizer
from lmlab.training.optimizers.muon import QUINTIC, Muon, hidden_matrices, orthogonalise

BETAS = [0.9, 0.95]


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton-Schulz in float32 on every machine."""
    monkeypatch.setattr(sys.modules[Muon.__module__], "has_fast_bfloat16", lambda device: False)


class Small(nn.Module):
    """Embedding, wide, tall and square matrices, gains, and a tied head: every kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.wide = nn.Linear(12, 6)
        self.tall = nn.Linear(6, 12, bias=False)
        self.square = nn.Linear(6, 6, bias=False)
        self.norm = nn.RMSNorm(6)
        self.head = nn.Linear(6, 7)
        self.head.weight = self.embedding.weight

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        hidden_BTD = self.embedding(tokens_BT)
        hidden_BTD = self.norm(hidden_BTD + self.wide(self.tall(hidden_BTD).tanh()) + self.square(hidden_BTD))
        return self.head(hidden_BTD)


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def backward(model: nn.Module, seed: int) -> None:
    """Fresh gradients of a small loss that depends on ``seed``."""
    tokens_BT = torch.randint(7, (4, 9), generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    nn.functional.cross_entropy(model(tokens_BT[:, :-1]).flatten(0, 1), tokens_BT[:, 1:].flatten()).backward()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        backward(model, seed)
        optimizer.step()


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with two or more dimensions, and the others."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    return matrices, [parameter for parameter in model.parameters() if parameter.ndim < 2]


def assert_equal_weights(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for (name, found), expected in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def slow_newton_schulz(matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """The quintic of Jordan et al. applied to the singular values of one matrix scaled to Frobenius norm 1."""
    u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ s.diag() @ vt


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (
            lambda model: adamw(model, 3e-3, BETAS, 1e-7, weight_decay=0.3),
            lambda matrices, vectors: torch.optim.AdamW(
                [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}],
                lr=3e-3,
                betas=(0.9, 0.95),
                eps=1e-7,
                foreach=False,
            ),
        ),
        (
            lambda model: adam(model, 3e-3, BETAS, 1e-7),
            lambda matrices, vectors: torch.optim.Adam(
                [*matrices, *vectors], lr=3e-3, betas=(0.9, 0.95), eps=1e-7, foreach=False
            ),
        ),
        (
            lambda model: sgd(model, 0.5, momentum=0.9, weight_decay=0.1),
            lambda matrices, vectors: torch.optim.SGD(
                [{"params": matrices, "weight_decay": 0.1}, {"params": vectors}], lr=0.5, momentum=0.9, foreach=False
            ),
        ),
    ],
    ids=["adamw", "adam", "sgd"],
)
def test_first_order_optimizers_are_those_of_torch(make, reference):
    model, twin = small(), small()
    train(model, make(model), range(5))
    train(twin, reference(*split(twin)), range(5))
    assert_equal_weights(model, twin, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("float32")
def test_muon_equals_its_equations():
    model, twin = small(), small()
    optimizer = muon(model, lr=0.02, adamw_lr=0.01, betas=BETAS, momentum=0.9, iterations=4, weight_decay=0.3)
    names = ("wide.weight", "tall.weight", "square.weight")
    weights = {name: twin.get_parameter(name).detach().double() for name in names}
    momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for seed in range(4):
        backward(model, seed)
        for name in names:
            gradient = model.get_parameter(name).grad.double()
            momenta[name] = 0.9 * momenta[name] + (1 - 0.9) * gradient
            update = slow_newton_schulz((1 - 0.9) * gradient + 0.9 * momenta[name], 4)
            scale = 0.2 * max(gradient.shape) ** 0.5
            weights[name] = (1 - 0.02 * 0.3) * weights[name] - 0.02 * scale * update
        optimizer.step()
        for name in names:
            torch.testing.assert_close(model.get_parameter(name).double(), weights[name], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("float32")
def test_listed_blocks_of_rows_are_matrices_of_their_own():
    torch.manual_seed(0)
    layer = nn.Linear(6, 14, bias=False)
    layer.row_blocks = [8, 4, 2]
    before = layer.weight.detach().double()
    layer.weight.grad = torch.randn(14, 6)
    muon(nn.Sequential(layer), 0.02, 0.01, BETAS, weight_decay=0.0).step()
    expected = [
        block - 0.02 * 0.2 * max(block.shape) ** 0.5 * slow_newton_schulz(gradient, 5)
        for block, gradient in zip(before.split([8, 4, 2]), layer.weight.grad.split([8, 4, 2]), strict=True)
    ]
    torch.testing.assert_close(layer.weight.double(), torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
def test_muon_equals_torch():
    model, twin = small(), small()
    train(model, muon(model, 0.02, 0.01, BETAS, momentum=0.9, weight_decay=0.3), range(4))

    hidden = [twin.wide.weight, twin.tall.weight, twin.square.weight]
    vectors = [parameter for parameter in twin.parameters() if parameter.ndim < 2]
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = [
        torch.optim.Muon(hidden, **settings),
        torch.optim.AdamW(
            [{"params": [twin.embedding.weight], "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}],
            lr=0.01,
            betas=(0.9, 0.95),
        ),
    ]
    for seed in range(4):
        backward(twin, seed)
        for optimizer in optimizers:
            optimizer.step()
    # Torch orthogonalises in bfloat16 everywhere: entries of about 0.02 * 0.2 agree to three digits or so.
    assert_equal_weights(model, twin, rtol=0.02, atol=1e-3)
    # Against what they moved in all, about 4 * 0.02 * 0.2 * sqrt(12) * 0.4 an entry, that is little.
    start = small()
    for one, other, first in zip(hidden, (model.wide, model.tall, model.square), hidden_matrices(start), strict=True):
        moved = one - first
        assert torch.linalg.matrix_norm(one - other.weight) < 0.06 * torch.linalg.matrix_norm(moved)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 48), (1, 5, 40)])
def test_singular_values_become_about_one_and_vectors_stay(shape):
    matrices_NRC = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, vt = torch.linalg.svd(matrices_NRC, full_matrices=False)
    in_old_basis = u.mT @ orthogonalise(matrices_NRC, 5) @ vt.mT
    values_NR = in_old_basis.diagonal(dim1=1, dim2=2)
    assert 0.6 < values_NR.median() < 1.3
    assert values_NR.max() < 1.3
    # The 16 x 16 ones have a few singular values below a hundredth of the norm, which five steps do not bring up to 1.
    assert (values_NR > 0.6).float().mean() > 0.9
    assert (in_old_basis - torch.diag_embed(values_NR)).abs().max() < 0.05


@pytest.mark.parametrize("iterations", [1, 3, 5, 8])
@pytest.mark.parametrize("shape", [(2, 16, 64), (2, 16, 31), (1, 32, 32)])
def test_it_is_the_iteration_of_the_quintic_whatever_the_shape(monkeypatch, shape, iterations):
    monkeypatch.setattr(sys.modules[Muon.__module__], "has_fast_bfloat16", lambda device: False)
    matrices_NRC = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    matrices_NRC[:, 1] = matrices_NRC[:, 0]  # a singular value of zero
    expected = matrices_NRC.double() / torch.linalg.matrix_norm(matrices_NRC.double())[:, None, None]
    a, b, c = QUINTIC
    for _ in range(iterations):
        gram = expected @ expected.mT
        expected = a * expected + (b * gram + c * gram @ gram) @ expected
    found = orthogonalise(matrices_NRC, iterations)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


def test_orthogonalising_scales_out_and_zero_stays_zero():
    matrices_NRC = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonalise(1e-3 * matrices_NRC), orthogonalise(matrices_NRC), rtol=0.05, atol=0.02)
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))


def test_a_run_goes_on_bit_for_bit_from_a_saved_state(tmp_path: Path):
    whole = small()
    optimizer = muon(whole, 0.02, 0.01, BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for seed in range(6):
        if seed == 3:
            states = {
                "model": whole.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            }
            torch.save(states, tmp_path / "states.pt")
        train(whole, optimizer, range(seed, seed + 1))
        schedule.step()

    resumed = Small()
    later = muon(resumed, 0.02, 0.01, BETAS)
    later_schedule = torch.optim.lr_scheduler.LambdaLR(later, lambda step: 1 / (1 + step))
    states = torch.load(tmp_path / "states.pt", weights_only=True)
    resumed.load_state_dict(states["model"])
    later.load_state_dict(states["optimizer"])
    later_schedule.load_state_dict(states["schedule"])
    for seed in range(3, 6):
        train(resumed, later, range(seed, seed + 1))
        later_schedule.step()
    assert_equal_weights(resumed, whole, rtol=0, atol=0)


def test_a_schedule_moves_the_rates_of_both_algorithms():
    model = small()
    optimizer = muon(model, lr=0.02, adamw_lr=0.005, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    assert {group["muon"]: group["lr"] for group in optimizer.param_groups} == {True: 0.01, False: 0.0025}


def test_parameters_without_a_gradient_stay_as_they_are():
    model = small()
    optimizer = muon(model, 0.02, 0.01, BETAS)
    backward(model, 0)
    model.square.weight.grad = model.norm.weight.grad = None
    optimizer.step()
    start = small()
    assert torch.equal(model.square.weight, start.square.weight)
    assert torch.equal(model.norm.weight, start.norm.weight)
    assert not torch.equal(model.tall.weight, start.tall.weight)


def test_a_closure_is_called_with_gradients():
    model = small()

    def closure() -> torch.Tensor:
        backward(model, 0)
        return torch.tensor(3.0)

    assert muon(model, 0.02, 0.01, BETAS).step(closure) == 3.0
    assert not torch.equal(model.tall.weight, small().tall.weight)


@pytest.fixture(scope="module")
def muon_node():
    """The section ``optimizer`` of ``optimizer=muon``."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return canonical(compose("optimizer/muon"))["optimizer"]


@pytest.mark.parametrize("head", ["softmax", "mixture_of_softmaxes"])
@pytest.mark.parametrize("model_name", [model for model in options_of("model") if model != "hf"])
def test_which_parameters_go_where(model_name, head, muon_node):
    with torch.device("meta"):
        model = build(model_section(f"model={model_name}", f"head={head}"), vocabulary=65, context=16)
    optimizer = build(muon_node)(model)
    assert isinstance(optimizer, Muon)
    places = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(places) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        group = places[id(parameter)]
        in_block = name.startswith("blocks.")
        assert group["muon"] == (in_block and parameter.ndim == 2), name
        assert (group["weight_decay"] > 0) == (parameter.ndim >= 2), name


@pytest.mark.parametrize(
    "make",
    [
        lambda model: adamw(model, 0.1, BETAS, weight_decay=0.5),
        lambda model: muon(model, 0.1, 0.1, BETAS, weight_decay=0.5),
    ],
    ids=["adamw", "muon"],
)
def test_only_matrices_decay(make):
    model, start = small(), small()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make(model).step()
    for (name, found), before in zip(model.named_parameters(), start.parameters(), strict=True):
        factor = 1 - 0.1 * 0.5 if before.ndim >= 2 else 1.0
        torch.testing.assert_close(found, factor * before, msg=name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"lr": -1.0}, "optimizer.lr=-1.0"),
        ({"adamw_lr": -1.0}, "optimizer.adamw_lr=-1.0"),
        ({"betas": [0.9]}, "optimizer.betas="),
        ({"betas": [0.9, 1.0]}, "optimizer.betas="),
        ({"momentum": 1.0}, "optimizer.momentum=1.0"),
        ({"iterations": 0}, "optimizer.iterations=0"),
        ({"weight_decay": -0.1}, "optimizer.weight_decay=-0.1"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(UserError, match=named):
        muon(small(), **({"lr": 0.1, "adamw_lr": 0.1, "betas": BETAS} | settings))


def test_building_an_optimizer_changes_no_weight():
    model = small()
    before = copy.deepcopy(model.state_dict())
    muon(model, 0.1, 0.1, BETAS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


LOSSES = [5.0, 4.0, 4.5, 4.4, 4.3]
"""With a patience of 2, averaging starts at the last: it is above 4, the best of those before the newest two."""


def test_averaging_starts_where_algorithm_1_starts_it():
    def trigger(losses: list[float], patience: int) -> int | None:
        """Merity et al. 2018, algorithm 1, with its names: the first t at which T is set."""
        logs: list[float] = []
        for t, v in enumerate(losses):
            if t > patience and v > min(logs[: t - patience]):
                return t
            logs.append(v)
        return None

    generator = torch.Generator().manual_seed(0)
    for patience in (1, 2, 5):
        for _ in range(20):
            losses = (torch.rand(12, generator=generator) / torch.arange(1, 13)).tolist()
            optimizer = nt_asgd(small(), 0.1, patience)
            found = None
            for t, loss in enumerate(losses):
                optimizer.observe(loss)
                if found is None and optimizer.param_groups[0]["triggered"]:
                    found = t
            assert found == trigger(losses, patience)


def test_the_weights_evaluated_at_are_the_mean_since_averaging_began():
    model, twin = small(), small()
    optimizer, plain = nt_asgd(model, 0.5, 2, weight_decay=0.1), sgd(twin, 0.5, weight_decay=0.1)
    seen: list[list[torch.Tensor]] = []
    for seed in range(8):
        optimizer.eval()
        if not seen:
            assert_equal_weights(model, twin, rtol=0, atol=0)
        for index, parameter in enumerate(model.parameters() if seen else ()):
            torch.testing.assert_close(parameter.double(), sum(weights[index] for weights in seen) / len(seen))
        if seed < 5:
            optimizer.observe(LOSSES[seed])
        optimizer.eval()  # twice is once
        optimizer.train()
        assert_equal_weights(model, twin, rtol=0, atol=0)  # averaging does not change what SGD does
        if seed == 4:  # w_T is part of the mean
            seen.append([parameter.detach().double() for parameter in twin.parameters()])
        train(model, optimizer, range(seed, seed + 1))
        train(twin, plain, range(seed, seed + 1))
        if seen:
            seen.append([parameter.detach().double() for parameter in twin.parameters()])
    assert len(seen) == 5


@pytest.mark.parametrize("stop", [2, 6])
def test_averages_and_losses_survive_a_checkpoint(tmp_path: Path, stop):
    def go_on(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            if seed < len(LOSSES):
                optimizer.observe(LOSSES[seed])
            train(model, optimizer, range(seed, seed + 1))

    whole, first, resumed = small(), small(), Small()
    of_whole, of_first, of_resumed = (nt_asgd(model, 0.5, 2, 0.9) for model in (whole, first, resumed))
    go_on(whole, of_whole, range(9))
    go_on(first, of_first, range(stop))
    torch.save({"model": first.state_dict(), "optimizer": of_first.state_dict()}, tmp_path / "states.pt")
    states = torch.load(tmp_path / "states.pt", weights_only=True)
    resumed.load_state_dict(states["model"])
    of_resumed.load_state_dict(states["optimizer"])
    go_on(resumed, of_resumed, range(stop, 9))
    assert_equal_weights(resumed, whole, rtol=0, atol=0)
    at_training = copy.deepcopy(whole.state_dict())
    of_whole.eval()
    of_resumed.eval()
    assert_equal_weights(resumed, whole, rtol=0, atol=0)
    assert not torch.equal(whole.square.weight, at_training["square.weight"])


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
