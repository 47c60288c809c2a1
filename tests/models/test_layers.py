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
    NGramEmbedding,
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


TYPES, WIDTH = 5, 4


def test_tables_with_a_row_for_each_ngram_are_looked_into_by_its_digits():
    embedding = NGramEmbedding(TYPES, WIDTH, [(TYPES + 1) ** 2, (TYPES + 1) ** 3 + 7])
    tokens = torch.tensor([[3, 0, 4, 4, 1]])
    found, last = embedding(tokens, None)
    digits = [0, 0, *(token + 1 for token in tokens[0].tolist())]
    pairs, triples = (table.weight for table in embedding.tables)
    for position in range(5):
        first, second, third = digits[position : position + 3]
        pair, triple = third + second * (TYPES + 1), third + second * (TYPES + 1) + first * (TYPES + 1) ** 2
        torch.testing.assert_close(found[0, position], pairs[pair] + triples[triple])
    assert last.tolist() == [[5, 2]]


def test_a_hash_spreads_ngrams_evenly_and_knows_every_token_of_them():
    vocabulary, rows = 4096, 1000  # powers of the first modulo 2^12 are zero
    embedding = NGramEmbedding(vocabulary, WIDTH, [rows, rows, rows, rows, rows])
    tokens = torch.randint(vocabulary, (1, 20_000), generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    for table in embedding.tables:
        table.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    embedding(tokens, None)
    for index in seen:
        counts = torch.bincount(index.flatten(), minlength=rows).double()
        assert len(counts) == rows
        chi_squared = float(((counts - 20) ** 2 / 20).sum())  # mean 999, standard deviation 45
        assert 800 < chi_squared < 1200
    before = [index.clone() for index in seen]
    seen.clear()
    changed = tokens.clone()
    changed[0, 100] += 1 - 2 * (changed[0, 100] == vocabulary - 1).long()
    embedding(changed, None)
    for count, (one, other) in enumerate(zip(before, seen, strict=True), 2):
        assert (one != other).nonzero()[:, 1].tolist() == list(range(100, 100 + count))


@torch.no_grad()
def test_the_rows_are_added_to_the_embedding_of_the_last_token(make_model):
    with_tables, without = make_model("model=gru model.ngrams=[40,50]"), make_model("model=gru")
    without.load_state_dict({name: value for name, value in with_tables.state_dict().items() if "ngrams" not in name})
    tokens = torch.arange(10)[None]
    added, _ = with_tables.ngrams(tokens, None)
    assert added.abs().min() > 0
    without.embedding.register_forward_hook(lambda *given: given[-1] + added)
    torch.testing.assert_close(with_tables(tokens)[0], without(tokens)[0], rtol=0, atol=0)


@pytest.mark.parametrize("rows", [[], [0], [8, -1], [2**40]])
def test_impossible_tables_are_refused(rows):
    with pytest.raises(UserError, match=r"model\.ngrams"):
        NGramEmbedding(TYPES, WIDTH, rows)
