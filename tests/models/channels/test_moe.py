import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmlab.errors import UserError
from lmlab.models.channels.moe import MixtureOfExperts
from lmlab.models.channels.swiglu import SwiGLU

D = 6


def some(channel: MixtureOfExperts, *shape: int) -> torch.Tensor:
    """Random tokens, with all weights of the channel drawn anew."""
    torch.manual_seed(0)
    for parameter in channel.parameters():
        torch.nn.init.normal_(parameter)
    return torch.randn(*shape, D, dtype=channel.router.weight.dtype)


def slow_choice(channel: MixtureOfExperts, x_D: torch.Tensor) -> tuple[list[float], list[int]]:
    """All scores of one token, and the experts that score highest, found one after another."""
    scores = [sum(w * x for w, x in zip(row, x_D.tolist(), strict=True)) for row in channel.router.weight.tolist()]
    chosen: list[int] = []
    for _ in range(channel.active):
        chosen.append(max((e for e in range(len(scores)) if e not in chosen), key=scores.__getitem__))
    return scores, chosen


@pytest.mark.parametrize(("experts", "active"), [(5, 2), (4, 4), (3, 1), (1, 1)])
@torch.no_grad()
def test_each_token_is_read_by_its_highest_scoring_experts(experts, active):
    channel = MixtureOfExperts(D, experts, active, ratio=2.0, multiple=4).double()
    x_BTD = some(channel, 2, 9)
    y_BTD, _ = channel(x_BTD)
    used = set()
    for x_D, y_D in zip(x_BTD.flatten(0, 1), y_BTD.flatten(0, 1), strict=True):
        scores, chosen = slow_choice(channel, x_D)
        used.update(chosen)
        weights = torch.tensor([scores[e] for e in chosen], dtype=torch.float64).exp()
        expected = torch.zeros(D, dtype=torch.float64)
        for weight, e in zip(weights / weights.sum(), chosen, strict=True):
            up, down = channel.experts[e].up.weight, channel.experts[e].down.weight
            gate, value = (up @ x_D).chunk(2)
            expected += weight * (down @ (gate / (1 + (-gate).exp()) * value))
        torch.testing.assert_close(y_D, expected, rtol=1e-10, atol=1e-10)
    assert used == set(range(experts))


def test_the_loss_asks_for_balance_as_its_equation_says():
    channel = MixtureOfExperts(D, 4, 2, balance=0.5).double().train()
    x_BTD = some(channel, 3, 7)
    loss = channel(x_BTD)[1]["load_balance"]
    expected = []
    for x_TD in x_BTD:
        share, mean = [0.0] * 4, torch.zeros(4, dtype=torch.float64)
        for x_D in x_TD:
            scores, chosen = slow_choice(channel, x_D)
            mean += torch.tensor(scores, dtype=torch.float64).softmax(0) / 7
            for e in chosen:
                share[e] += 1 / 14
        expected.append(0.5 * 4 * sum(f * p for f, p in zip(share, mean.tolist(), strict=True)))
    assert loss.item() == pytest.approx(sum(expected) / 3)
    loss.backward()
    assert channel.router.weight.grad.count_nonzero() > 0
    channel.router.weight.data.zero_()  # all equally likely: the least there is
    assert channel(x_BTD)[1]["load_balance"].item() == pytest.approx(0.5)
    assert channel.eval()(x_BTD)[1] == {}


def test_following_the_loss_spreads_tokens_over_the_experts():
    channel = MixtureOfExperts(D, 4, 1, balance=1.0).train()
    x_ND = some(channel, 200) + 1  # tokens with much in common, most of which one expert reads
    optimizer = torch.optim.Adam([channel.router.weight], 0.05)

    def largest_share() -> float:
        chosen = (x_ND @ channel.router.weight.T).argmax(1)
        return torch.bincount(chosen, minlength=4).max().item() / len(x_ND)

    assert largest_share() > 0.5
    for _ in range(60):
        optimizer.zero_grad()
        channel(x_ND)[1]["load_balance"].backward()
        optimizer.step()
    assert largest_share() < 0.4


def test_gradients_are_those_of_differences():
    channel = MixtureOfExperts(D, 3, 2, ratio=1.0, multiple=1).double()
    x_ND = some(channel, 4).requires_grad_()
    parameters = dict(channel.named_parameters())

    def output(x_ND: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(channel, dict(zip(parameters, values, strict=True)), (x_ND,))[0]

    assert torch.autograd.gradcheck(output, (x_ND, *parameters.values()))


def test_gradient_reaches_experts_of_many_tokens_and_is_zero_for_idle_ones():
    channel = MixtureOfExperts(D)
    channel(some(channel, 500))[0].square().sum().backward()
    assert all(parameter.grad.count_nonzero() > 0 for parameter in channel.parameters())
    channel.zero_grad()
    channel(some(channel, 1))[0].square().sum().backward()
    used = [expert.up.weight.grad.count_nonzero().item() > 0 for expert in channel.experts]
    assert sum(used) == 2  # the others have zeros, not None, which processes that train together could not add up


@pytest.mark.parametrize("tokens", [1, 64])
@torch.no_grad()
def test_experts_that_are_not_chosen_do_not_count_as_operations(tokens):
    channel = MixtureOfExperts(D, 8, 2)
    matrices = sum(parameter.numel() for parameter in channel.parameters())
    for device in ("cpu", "meta"):
        with FlopCounterMode(display=False) as counter:
            channel.to(device)(torch.zeros(1, tokens, D, device=device))
        assert 2 * matrices + channel.extra_flops(tokens) == counter.get_total_flops() / tokens


@torch.no_grad()
def test_two_experts_cost_what_one_swiglu_does():
    of_two = sum(parameter.numel() for expert in MixtureOfExperts(384).experts[:2] for parameter in expert.parameters())
    assert of_two == sum(parameter.numel() for parameter in SwiGLU(384).parameters())


@torch.no_grad()
def test_the_router_chooses_the_same_under_autocast():
    channel = MixtureOfExperts(D)
    x_ND = some(channel, 300)
    whole, _ = channel(x_ND)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = channel(x_ND)
    assert half.dtype == torch.float32
    # Where another expert was chosen the whole vector would differ; rounding to 8 bits changes it by a few per cent.
    assert ((half - whole).norm(dim=1) / whole.norm(dim=1)).max() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 0}, r"model\.channel\.experts=0: .*nearest: 1"),
        ({"experts": 4, "active": 5}, r"model\.channel\.active=5: .*model\.channel\.experts=4 \(nearest: 4\)"),
        ({"active": 0}, r"model\.channel\.active=0: .*nearest: 1"),
        ({"balance": -1.0}, r"model\.channel\.balance=-1\.0"),
        ({"ratio": 0.0}, r"model\.channel\.ratio=0\.0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        MixtureOfExperts(D, **options)
