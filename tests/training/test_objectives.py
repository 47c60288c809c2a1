import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from lmlab.data.batch import Batch
from lmlab.errors import UserError
from lmlab.models.heads.mixture_of_softmaxes import MixtureOfSoftmaxes
from lmlab.models.heads.softmax import Softmax
from lmlab.models.state import Output
from lmlab.training.objectives import Brier, CrossEntropy

B, T, D, V = 3, 5, 6, 11


class Lookup(torch.nn.Module):
    """The smallest language model: hidden vectors are the embeddings, and the state counts tokens."""

    def __init__(self, head: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(V, D)
        self.head = Softmax(D, V, None) if head == "softmax" else MixtureOfSoftmaxes(D, V, None, 2)

    def forward(self, tokens, state):
        return Output(self.embedding(tokens), (state or 0) + tokens.shape[1])


def batch() -> Batch:
    targets = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))
    targets[0, 0] = targets[2, 3] = -1
    return Batch(torch.randint(V, (B, T), generator=torch.Generator().manual_seed(2)), targets, state=4, share=0.5)


def check(objective, expected_loss, head):
    model, given = Lookup(head).double(), batch()
    loss, share, output, logs = objective.terms(model, given)
    scored = given.targets >= 0
    expected = expected_loss(model.head.log_probs(model.embedding(given.tokens[scored])), given.targets[scored])
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    assert (share, output.state, logs) == (0.5, 4 + T, {})
    wanted = list(model.parameters())
    for one, other in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    return loss


@pytest.mark.parametrize("head", ["softmax", "mixture"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(head, smoothing):
    check(
        CrossEntropy(smoothing),
        lambda log_probs, targets: cross_entropy(log_probs, targets, label_smoothing=smoothing),
        head,
    )


@pytest.mark.parametrize("head", ["softmax", "mixture"])
def test_brier_is_the_mean_squared_error_to_the_one_hot_truth_times_the_types(head):
    loss = check(
        Brier(),
        lambda log_probs, targets: V * mse_loss(log_probs.exp(), one_hot(targets, V).double()),
        head,
    )
    assert 0 < loss < 2


@pytest.mark.parametrize("objective", [Brier(), CrossEntropy()])
def test_without_a_scored_token_the_loss_is_zero(objective):
    given = batch()
    given.targets.fill_(-1)
    assert objective.terms(Lookup("softmax"), given).loss == 0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(UserError, match=f"objective.label_smoothing={smoothing}"):
        CrossEntropy(smoothing)
