"""Documents that are read one by one do not affect each other, for any architecture."""

import numpy as np
import torch

from lmlab.data.document_order import DocumentOrder
from lmlab.training.objectives import CrossEntropy

LENGTHS = [5, 40, 3, 24, 7, 1, 30, 6]
CONTEXT, VOCABULARY = 24, 13
CHANGED = 1
"""Number of the document whose tokens are changed."""


def documents(changed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of documents after separators (0), one with other tokens if ``changed``, and their starts."""
    starts = np.cumsum([0, *LENGTHS[:-1]])
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, 1 + sum(LENGTHS))
    if changed:
        first, end = starts[CHANGED] + 1, starts[CHANGED] + LENGTHS[CHANGED]
        tokens[first:end] = (tokens[first:end] + 1) % VOCABULARY
    tokens[starts] = 0
    return tokens, starts


def nats(model, batch) -> torch.Tensor:
    """Return the loss [B, T] at every position, 0 where nothing is scored."""
    hidden_BTD = model(batch.tokens, None).hidden
    log_probs_BTV = model.head.log_probs(hidden_BTD.flatten(0, 1)).view(*batch.tokens.shape, -1)
    chosen_BT = log_probs_BTV.gather(2, batch.targets.clamp(min=0)[:, :, None])[:, :, 0]
    return torch.where(batch.targets >= 0, -chosen_BT, 0)


def is_changed(batch, other) -> torch.Tensor:
    """Return which rows [B] of two batches differ."""
    return (batch.tokens != other.tokens).any(1) | (batch.targets != other.targets).any(1)


def test_a_document_changes_nothing_in_another(make_model, architecture):
    model = make_model(architecture, dtype=torch.float64)
    orders = [DocumentOrder(*documents(changed), 3, 2, CONTEXT) for changed in (False, True)]
    rows = 0
    for step in range(orders[0].steps_per_epoch):
        batch, other = (order.batch(step) for order in orders)
        same_B = ~is_changed(batch, other)
        rows += int((~same_B).sum())
        before_BT, after_BT = nats(model, batch), nats(model, other)
        assert torch.equal(before_BT[same_B], after_BT[same_B])
        if not same_B.all():
            assert not torch.equal(before_BT[~same_B], after_BT[~same_B])
    assert rows == 2, "the changed document has two pieces"


def test_the_loss_is_the_mean_over_documents_one_at_a_time(make_model, architecture):
    model = make_model(architecture, dtype=torch.float64)
    (tokens, starts), sums, counts = documents(False), 0.0, 0
    order = DocumentOrder(tokens, starts, 3, 2, CONTEXT)
    for step in range(order.steps_per_epoch):
        model.zero_grad()
        whole = order.batch(step)
        loss = CrossEntropy().terms(model, whole).loss
        loss.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        model.zero_grad()
        expected, scored = 0.0, int((whole.targets >= 0).sum())
        for tokens_L, targets_L in zip(whole.tokens, whole.targets, strict=True):
            length = int((targets_L >= 0).sum())
            hidden_LD = model(tokens_L[None, :length], None).hidden[0]
            nats_L = -model.head.log_probs(hidden_LD).gather(1, targets_L[:length, None])[:, 0]
            (nats_L.sum() / scored).backward()
            expected += float(nats_L.sum().detach())
        alone = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        torch.testing.assert_close(loss.item(), expected / scored, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, alone, rtol=1e-6, atol=1e-9)
        sums, counts = sums + expected, counts + scored
    assert counts == sum(LENGTHS)
