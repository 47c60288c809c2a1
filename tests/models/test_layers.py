"""A mix of each vector with the one before it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import UserError
from lmlab.models.block import PreNormBlock
from lmlab.models.layers import (
    MOST,
    WIDEST,
    EmbeddingDropout,
    TokenShift,
    VariationalDropout,
    check_count,
    check_width,
    divisors,
)


@given(st.integers(-5, 5000))
def test_divisors_are_all_numbers_without_a_remainder(number):
    assert divisors(number) == [count for count in range(1, number + 1) if number % count == 0]


def test_limits_are_inclusive_and_named():
    check_count("model.depth", MOST)
    check_width("model.width", WIDEST)
    with pytest.raises(UserError, match="model.depth=10001: expected at most 10000"):
        check_count("model.depth", MOST + 1)
    with pytest.raises(UserError, match="model.width=16777217: expected at most 16777216"):
        check_width("model.width", WIDEST + 1)


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


def test_a_vector_is_mixed_with_the_one_before_it_channel_by_channel():
    shift = TokenShift(2, 0.25)
    with torch.no_grad():
        shift.share[1] = 1.0
    x = torch.tensor([[[4.0, 1.0], [8.0, 2.0], [0.0, 3.0]]])
    y, last = shift(x, None)
    torch.testing.assert_close(y, torch.tensor([[[3.0, 0.0], [7.0, 1.0], [2.0, 2.0]]]))
    assert last.tolist() == [[[0.0, 3.0]]]
    torch.testing.assert_close(shift(x, torch.tensor([[[8.0, 9.0]]]))[0][0, 0], torch.tensor([5.0, 9.0]))


def test_both_mixers_of_a_block_read_the_mix():
    read = []

    class Mixer(torch.nn.Module):
        def forward(self, x, state):
            read.append(x)
            return 0 * x, state

    channel = torch.nn.Identity()
    channel.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    block = PreNormBlock(3, Mixer(), channel, lambda _: torch.nn.Identity(), torch.nn.Identity, token_shift=0.5)
    x = torch.randn(2, 4, 3)
    _, mixer_last, channel_last = block(x, None).state
    before = torch.cat([torch.zeros(2, 1, 3), x[:, :-1]], 1)
    for mixed, last in zip(read, (mixer_last, channel_last), strict=True):
        torch.testing.assert_close(mixed, (x + before) / 2)
        torch.testing.assert_close(last, x[:, -1:])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(UserError, match=r"model\.block\.token_shift=.*0 to 1"):
        PreNormBlock(3, torch.nn.Identity(), None, torch.nn.LayerNorm, torch.nn.Identity, token_shift=share)
