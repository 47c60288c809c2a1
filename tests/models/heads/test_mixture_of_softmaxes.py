import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from lmlab.models.heads import head
from lmlab.models.heads.mixture_of_softmaxes import MixtureOfSoftmaxes
from lmlab.models.heads.softmax import Softmax

N, D, V, K = 9, 4, 17, 3


def case(factorised=True, tied=False, components=K, tokens=N):
    torch.manual_seed(0)
    made = MixtureOfSoftmaxes(D, V, torch.nn.Embedding(V, D) if tied else None, components, factorised).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made, torch.randn(tokens, D, dtype=torch.float64, requires_grad=True), torch.randint(V, (tokens,))


def softmax(scores):
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def slow_probabilities(made, hidden):
    """sum_i alpha_i softmax(W_i h + b_i), for one hidden vector, a component at a time."""
    matrix, bias, probabilities = made.linear.weight, made.linear.bias, [0.0] * V
    for i, alpha in enumerate(softmax((made.mixing.weight @ hidden).tolist())):
        if made.projection is not None:
            rows = slice(i * D, (i + 1) * D)
            inner = (made.projection.weight[rows] @ hidden + made.projection.bias[rows]).tanh()
            logits = matrix @ inner + bias
        else:
            rows = slice(i * V, (i + 1) * V)
            logits = matrix[rows] @ hidden + bias[rows]
        probabilities = [p + alpha * q for p, q in zip(probabilities, softmax(logits.tolist()), strict=True)]
    return probabilities


@pytest.mark.parametrize(("factorised", "tied"), [(True, False), (True, True), (False, False)])
@torch.no_grad()
def test_mixture_is_its_equation_component_by_component(factorised, tied):
    made, hidden_ND, _ = case(factorised, tied)
    expected = torch.tensor([slow_probabilities(made, hidden) for hidden in hidden_ND], dtype=torch.float64)
    torch.testing.assert_close(made.log_probs(hidden_ND).exp(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        made.log_probs(hidden_ND.view(3, 3, D)).exp().view(N, V), expected, rtol=1e-12, atol=1e-14
    )


@torch.no_grad()
def test_with_one_shared_matrix_the_mixture_collapses_to_a_single_softmax():
    made, hidden_ND, _ = case(factorised=False)
    single = Softmax(D, V, None, bias=True).double()
    made.linear.weight.copy_(single.linear.weight.repeat(K, 1))
    made.linear.bias.copy_(single.linear.bias.repeat(K))
    torch.testing.assert_close(made.log_probs(hidden_ND), single.log_probs(hidden_ND), rtol=0, atol=1e-13)


@pytest.mark.parametrize("factorised", [True, False])
@torch.no_grad()
def test_a_mixture_has_a_higher_rank_than_any_softmax(factorised):
    made, hidden_ND, _ = case(factorised, tokens=50)
    single = Softmax(D, V, None).double()
    torch.nn.init.normal_(single.linear.weight)
    assert torch.linalg.matrix_rank(single.log_probs(hidden_ND), rtol=1e-9) <= D + 1
    assert torch.linalg.matrix_rank(made.log_probs(hidden_ND), rtol=1e-9) > 2 * (D + 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("factorised", [True, False])
def test_cross_entropy_is_that_of_the_mixture(monkeypatch, factorised, smoothing):
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", 2 * V * K)
    made, hidden_ND, targets_N = case(factorised)
    targets_N[3] = -1
    assert made.chunk == 2
    loss = made.cross_entropy(hidden_ND, targets_N, smoothing)
    expected = cross_entropy(made.log_probs(hidden_ND), targets_N, ignore_index=-1, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    wanted = [hidden_ND, *made.parameters()]
    for one, other in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
