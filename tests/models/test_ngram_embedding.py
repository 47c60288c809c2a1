"""Embeddings of pairs, triples and so on of tokens."""

import pytest
import torch

from lmlab.errors import UserError
from lmlab.models.ngram_embedding import NGramEmbedding

V, D = 5, 4


def test_tables_with_a_row_for_each_ngram_are_looked_into_by_its_digits():
    embedding = NGramEmbedding(V, D, [(V + 1) ** 2, (V + 1) ** 3 + 7])
    tokens = torch.tensor([[3, 0, 4, 4, 1]])
    found, last = embedding(tokens, None)
    digits = [0, 0, *(token + 1 for token in tokens[0].tolist())]
    pairs, triples = (table.weight for table in embedding.tables)
    for position in range(5):
        first, second, third = digits[position : position + 3]
        pair, triple = third + second * (V + 1), third + second * (V + 1) + first * (V + 1) ** 2
        torch.testing.assert_close(found[0, position], pairs[pair] + triples[triple])
    assert last.tolist() == [[5, 2]]


def test_a_hash_spreads_ngrams_evenly_and_knows_every_token_of_them():
    vocabulary, rows = 4096, 1000  # powers of the first modulo 2^12 are zero
    embedding = NGramEmbedding(vocabulary, D, [rows, rows, rows, rows, rows])
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
        NGramEmbedding(V, D, rows)
