import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from lmlab.models.heads import head
from lmlab.models.heads.softmax import Softmax

N, D, V = 23, 8, 29
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def case(dtype=torch.float64, bias=True, tied=False):
    torch.manual_seed(0)
    made = Softmax(D, V, torch.nn.Embedding(V, D) if tied else None, bias).to(dtype)
    hidden_ND = (3 * torch.randn(N, D, dtype=dtype)).requires_grad_()
    targets_N = torch.randint(V, (N,))
    targets_N[[0, 5, 6, N - 1]] = -1
    return made, hidden_ND, targets_N


def dense(made, hidden_ND, targets_N, smoothing=0.0):
    logits_NV = torch.nn.functional.linear(hidden_ND, made.linear.weight, made.linear.bias)
    return cross_entropy(logits_NV, targets_N, ignore_index=-1, label_smoothing=smoothing)


def gradients(loss, made, hidden_ND):
    return torch.autograd.grad(loss, [hidden_ND, *made.parameters()])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tokens_in_chunk", [1, 5, 23, 1000])
def test_fused_cross_entropy_is_torchs(monkeypatch, dtype, bias, smoothing, tokens_in_chunk):
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", tokens_in_chunk * V)
    made, hidden_ND, targets_N = case(dtype, bias)
    loss, expected = made.cross_entropy(hidden_ND, targets_N, smoothing), dense(made, hidden_ND, targets_N, smoothing)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss, expected, rtol=TOLERANCE[dtype], atol=0)
    # A loss is seldom the last thing computed: its own gradient need not be 1.
    for one, other in zip(
        gradients(-3.5 * loss, made, hidden_ND), gradients(-3.5 * expected, made, hidden_ND), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_predictions_small_enough_to_keep_give_the_same(monkeypatch, bias, smoothing):
    made, hidden_ND, targets_N = case(bias=bias)
    chunked = made.cross_entropy(hidden_ND, targets_N, smoothing)
    monkeypatch.setattr(head, "KEPT_ELEMENTS", N * V)
    kept = made.cross_entropy(hidden_ND, targets_N, smoothing)
    assert type(chunked.grad_fn) is not type(kept.grad_fn)
    torch.testing.assert_close(kept, chunked, rtol=1e-13, atol=0)
    for one, other in zip(gradients(kept, made, hidden_ND), gradients(chunked, made, hidden_ND), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_those_of_finite_differences(smoothing):
    made, hidden_ND, targets_N = case()

    def loss(hidden_ND, weight_VD, bias_V):
        parameters = {"linear.weight": weight_VD, "linear.bias": bias_V}
        return torch.func.functional_call(_Loss(made), {f"head.{k}": v for k, v in parameters.items()}, hidden_ND)

    class _Loss(torch.nn.Module):
        def __init__(self, made):
            super().__init__()
            self.head = made

        def forward(self, hidden_ND):
            return self.head.cross_entropy(hidden_ND, targets_N, smoothing)

    torch.autograd.gradcheck(loss, (hidden_ND, made.linear.weight, made.linear.bias))


def test_vocabularies_wider_than_a_block_of_the_product_agree_too():
    torch.manual_seed(0)
    made = Softmax(D, 5000, None, bias=True).double()
    hidden_ND, targets_N = torch.randn(N, D, dtype=torch.float64, requires_grad=True), torch.randint(5000, (N,))
    loss, expected = made.cross_entropy(hidden_ND, targets_N), dense(made, hidden_ND, targets_N)
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
    for one, other in zip(gradients(loss, made, hidden_ND), gradients(expected, made, hidden_ND), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_a_tied_matrix_gets_the_gradient_of_both_uses():
    made, _, targets_N = case(tied=True)
    tokens_N = torch.randint(V, (N,))
    weight = made.linear.weight
    (fused,) = torch.autograd.grad(made.cross_entropy(weight[tokens_N], targets_N), weight)
    (expected,) = torch.autograd.grad(dense(made, weight[tokens_N], targets_N), weight)
    torch.testing.assert_close(fused, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("frozen", ["hidden", "linear.weight", "linear.bias"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(frozen):
    made, hidden_ND, targets_N = case()
    tensors = {"hidden": hidden_ND, **dict(made.named_parameters())}
    dense(made, hidden_ND, targets_N).backward()
    expected = {name: tensor.grad for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.grad = None
    tensors[frozen].requires_grad_(False)
    made.cross_entropy(hidden_ND, targets_N).backward()
    assert tensors[frozen].grad is None
    for name in set(tensors) - {frozen}:
        torch.testing.assert_close(tensors[name].grad, expected[name], rtol=0, atol=1e-13)


def test_extreme_logits_stay_finite_and_right():
    made, hidden_ND, targets_N = case(torch.float32)
    hidden_ND = (hidden_ND.detach() * 1000).requires_grad_()
    loss, expected = made.cross_entropy(hidden_ND, targets_N), dense(made, hidden_ND, targets_N)
    assert expected > 200  # the truth's probability underflows
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    for one, other in zip(gradients(loss, made, hidden_ND), gradients(expected, made, hidden_ND), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_scored_token_loss_and_gradients_are_zero(smoothing):
    made, hidden_ND, targets_N = case()
    loss = made.cross_entropy(hidden_ND, torch.full_like(targets_N, -1), smoothing)
    assert loss == 0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients(loss, made, hidden_ND))


def test_autocast_to_bfloat16_is_close_and_keeps_gradients_in_the_parameters_precision():
    made, hidden_ND, targets_N = case(torch.float32)
    expected = dense(made, hidden_ND, targets_N)
    with torch.autocast("cpu", torch.bfloat16):
        loss = made.cross_entropy(hidden_ND, targets_N)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.01, atol=0)
    for one, other in zip(gradients(loss, made, hidden_ND), gradients(expected, made, hidden_ND), strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


class Largest(TorchDispatchMode):
    """Counts matrix products and the elements of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        self.products += function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        return result


def test_predictions_are_never_whole_in_memory(monkeypatch):
    tokens, vocabulary = 512, 20_000
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", 64 * vocabulary)
    made, hidden = Softmax(4, vocabulary, None), torch.randn(tokens, 4, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    with Largest() as fused:
        made.cross_entropy(hidden, targets).backward()
    assert fused.elements <= 64 * vocabulary
    with Largest() as chunked:
        made.per_token(lambda log_probs, _: log_probs.square().sum(1), hidden, targets).sum().backward()
    assert chunked.elements == 64 * vocabulary
    with Largest() as whole:
        dense(made, hidden, targets).backward()
    assert whole.elements == tokens * vocabulary  # so this count can fail


@torch.no_grad()
def test_where_no_gradient_is_wanted_none_is_computed():
    made, hidden_ND, targets_N = case()
    with Largest() as counted:
        loss = made.cross_entropy(hidden_ND, targets_N)
    assert counted.products == 1
    torch.testing.assert_close(loss, dense(made, hidden_ND, targets_N), rtol=1e-13, atol=0)


@pytest.mark.parametrize("tokens_in_chunk", [1, 5, 1000])
def test_a_function_of_each_prediction_is_computed_as_if_directly(monkeypatch, tokens_in_chunk):
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", tokens_in_chunk * V)
    made, hidden_ND, targets_N = case()

    def function(log_probs_NV, targets_N):
        return log_probs_NV.exp().pow(3).sum(1) + log_probs_NV.gather(1, targets_N[:, None])[:, 0]

    values_N = made.per_token(function, hidden_ND, targets_N)
    scored_N = targets_N >= 0
    logits_NV = hidden_ND @ made.linear.weight.T + made.linear.bias
    expected_N = function(logits_NV.log_softmax(1), targets_N.clamp(min=0)) * scored_N
    torch.testing.assert_close(values_N, expected_N, rtol=0, atol=1e-12)
    weights_N = torch.randn(N, dtype=torch.float64)
    for one, other in zip(
        gradients((weights_N * values_N).sum(), made, hidden_ND),
        gradients((weights_N * expected_N).sum(), made, hidden_ND),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_scores_are_nats_correctness_and_confidence(monkeypatch):
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", 5 * V)
    made, hidden_ND, _ = case()
    probs_NV = (hidden_ND @ made.linear.weight.T + made.linear.bias).softmax(1)
    guess_N = probs_NV.argmax(1)
    targets_N = torch.where(torch.arange(N) % 2 == 0, guess_N, (guess_N + 1) % V)
    nats_N, correct_N, confidence_N = made.score(hidden_ND, targets_N)
    torch.testing.assert_close(nats_N, -probs_NV[torch.arange(N), targets_N].log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(confidence_N, probs_NV.amax(1), rtol=0, atol=1e-12)
    assert correct_N.tolist() == [position % 2 == 0 for position in range(N)]
    assert not nats_N.requires_grad
