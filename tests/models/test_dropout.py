import pytest
import torch

from lmlab.errors import UserError
from lmlab.models.dropout import EmbeddingDropout, VariationalDropout

B, T, D, V = 64, 5, 32, 50


def test_variational_dropout_keeps_the_same_channels_at_all_positions():
    torch.manual_seed(0)
    x_BTD = torch.randn(B, T, D)
    drop = VariationalDropout(0.25)
    factors_BTD = drop(x_BTD) / x_BTD
    assert torch.allclose(factors_BTD, factors_BTD[:, :1])
    kept = factors_BTD[:, 0] > 0
    torch.testing.assert_close(factors_BTD[:, 0][kept], torch.full((int(kept.sum()),), 1 / 0.75))
    assert kept.float().mean() == pytest.approx(0.75, abs=0.03)
    assert kept.any(0).all() and kept.any(1).all()  # another mask for every sequence
    assert torch.equal(drop.eval()(x_BTD), x_BTD)


def test_embedding_dropout_is_dropout_of_rows_of_the_matrix():
    torch.manual_seed(0)
    tokens_BT, matrix_VD = torch.randint(V, (B, T)), torch.randn(V, D)
    drop = EmbeddingDropout(0.4)
    torch.manual_seed(1)
    mask_V = torch.nn.functional.dropout(torch.ones(V), 0.4)
    torch.manual_seed(1)
    found_BTD = drop(matrix_VD[tokens_BT], tokens_BT, V)
    torch.testing.assert_close(found_BTD, (matrix_VD * mask_V[:, None])[tokens_BT])
    assert 0 < (mask_V == 0).sum() < V
    assert torch.equal(drop.eval()(matrix_VD[tokens_BT], tokens_BT, V), matrix_VD[tokens_BT])


def test_a_tied_head_keeps_the_types_that_are_dropped_from_the_embedding(make_model):
    model = make_model("model=lstm model.embedding_dropout=0.9").train()
    hidden_BTD = model(torch.zeros(1, 3, dtype=torch.int64)).hidden
    logits_BTV = model.head.linear(hidden_BTD)
    assert torch.equal(logits_BTV, hidden_BTD @ model.embedding.weight.T)
    kinds = [type(module) for module in make_model("model=lstm model.variational_dropout=true").modules()]
    assert kinds.count(VariationalDropout) == 3


def test_impossible_shares_are_refused(make_model):
    with pytest.raises(UserError, match=r"model\.embedding_dropout=1\.0"):
        make_model("model=lstm model.embedding_dropout=1.0")
