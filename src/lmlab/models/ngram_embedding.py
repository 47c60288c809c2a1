"""Embeddings of the last few tokens together, added to the embedding of the last one.

Each pair, triple and so on of tokens has a row in a table. If a table has too few rows, a hash decides which
of them share a row (Svenstrup et al. 2017, "Hash embeddings", with a single hash function; Huang et al.
2025, "Over-tokenized Transformer", section 3.2). A lookup costs no operation of a matrix product, however large the
tables.

Dimension legend: B sequences, T tokens, S tokens with those before them, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lmlab.errors import UserError
from lmlab.models.layers import check_width

_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
"""The odd number next to 2^64 / golden ratio, as a signed one (Knuth 1998, section 6.4): products modulo 2^64 mix."""


class NGramEmbedding(nn.Module):
    """The sum of a row for the pair, one for the triple, ... that end at each token.

    Before the first token of a sequence there is a token that occurs nowhere else.

    Args:
        vocabulary: types of token.
        width: D.
        rows: of the table of pairs, that of triples, and so on. With (vocabulary + 1)^n rows or more, each sequence of
            n tokens has a row of its own.

    Raises:
        UserError: there is no table, or a table has no rows.
    """

    def __init__(self, vocabulary: int, width: int, rows: list[int]) -> None:
        super().__init__()
        if not rows or min(rows) < 1:
            raise UserError(f"model.ngrams={rows}: expected rows of tables of pairs, triples, ..., like [4096,8192]")
        for count in rows:
            check_width("model.ngrams", count)
        self.types = vocabulary + 1
        self.rows = tuple(rows)
        self.tables = nn.ModuleList(nn.Embedding(count, width) for count in rows)

    def forward(self, tokens_BT: Tensor, before_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the sum of the rows [B, T, D], and the last tokens, which the next call needs.

        Args:
            before_BN: as many tokens as there are tables, each plus 1; ``None``: at the start of a sequence.
        """
        N = len(self.tables)
        read_BT = tokens_BT + 1  # 0 stands for the position before the first token
        seen_BS = pad(read_BT, (N, 0)) if before_BN is None else torch.cat([before_BN, read_BT], 1)
        end = seen_BS.shape[1]
        code_BT, y_BTD = read_BT, None
        for back, (table, rows) in enumerate(zip(self.tables, self.rows, strict=True), 1):
            code_BT = code_BT + seen_BS[:, N - back : end - back] * _wrapped(self.types**back)
            row_BTD = table(self._row(code_BT, back + 1, rows))
            y_BTD = row_BTD if y_BTD is None else y_BTD + row_BTD
        assert y_BTD is not None
        return y_BTD, seen_BS[:, end - N :]

    def _row(self, code_BT: Tensor, length: int, rows: int) -> Tensor:
        """Return the row of each sequence of ``length`` tokens, given as a number in base ``types``."""
        if self.types**length <= rows:
            return code_BT
        mixed_BT = code_BT * _MULTIPLIER
        return ((mixed_BT >> 32) & 0x7FFFFFFF) % rows


def _wrapped(number: int) -> int:
    """Return a number as a signed one of 64 bits, as a product of such numbers would be."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
