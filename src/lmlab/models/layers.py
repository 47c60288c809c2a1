"""Layers that torch does not have, limits of sizes, and marks for initialisation, optimizers and tensor parallelism."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad

from lmlab.errors import UserError

MOST = 10_000
"""Modules of one kind; each takes time and memory to build, also where its parameters take none."""

WIDEST = 2**24
"""Numbers that a layer takes or gives for one token."""


def check_count(option: str, value: int) -> None:
    """Refuse a number of modules above ``MOST``. Raises ``UserError``."""
    if value > MOST:
        raise UserError(f"{option}={value}: expected at most {MOST}")


def check_width(option: str, value: int) -> None:
    """Refuse a layer wider than ``WIDEST``. Raises ``UserError``."""
    if value > WIDEST:
        raise UserError(f"{option}={value}: expected at most {WIDEST}")


def divisors(number: int) -> list[int]:
    """Return the whole numbers that divide ``number``, in order; none for a number below 1."""
    low = [count for count in range(1, math.isqrt(max(0, number)) + 1) if number % count == 0]
    return low + [number // count for count in reversed(low) if count * count != number]


class VariationalDropout(nn.Dropout):
    """One mask for all positions of a sequence (Gal & Ghahramani 2016, section 4.1), drawn at every forward pass."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x_BTD
        return x_BTD * dropout(x_BTD.new_ones(x_BTD.shape[0], 1, x_BTD.shape[2]), self.p)


class EmbeddingDropout(nn.Dropout):
    """Drops word types: all tokens of a type, in all sequences of a forward pass, or none (section 4.2 there).

    Equivalent to dropping rows of the embedding matrix before the lookup.
    """

    def forward(self, x_BTD: Tensor, tokens_BT: Tensor, vocabulary: int) -> Tensor:  # type: ignore[override]
        """Return embeddings ``x_BTD`` of ``tokens_BT``, those of dropped types 0, the others divided by 1 - p."""
        if not self.training or self.p == 0:
            return x_BTD
        return x_BTD * dropout(x_BTD.new_ones(vocabulary), self.p)[tokens_BT][..., None]


class Linear(nn.Linear):
    """``nn.Linear`` with marks, which any linear layer or embedding may also have as attributes.

    Args:
        writes_residual: it writes into the residual stream, so its weights start smaller
            (:class:`lmlab.models.language_model.LanguageModel`).
        keeps_initialisation: the model does not initialise its weights again.
        row_blocks: rows of the matrices that its weight consists of, one below the other, each a matrix of its own to
            an optimizer that treats matrices as such; empty: it is one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        writes_residual: bool = False,
        keeps_initialisation: bool = False,
        row_blocks: Sequence[int] = (),
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.writes_residual = writes_residual
        self.keeps_initialisation = keeps_initialisation
        self.row_blocks = list(row_blocks)


class TokenShift(nn.Module):
    """y_t = x_t + m (x_{t-1} - x_t), with a share m of each channel; x_0 is zero.

    Args:
        width: D.
        share: m at the start of training.
    """

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((width,), float(share)))

    def forward(self, x_BTD: Tensor, last_B1D: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y [B, T, D] and the last vector [B, 1, D], for the next call; ``None``: at the start."""
        if last_B1D is None:
            last_B1D = torch.zeros_like(x_BTD[:, :1])
        before_BTD = torch.cat([last_B1D, x_BTD[:, :-1]], 1)
        return torch.lerp(x_BTD, before_BTD, self.share.to(x_BTD.dtype)), x_BTD[:, -1:]


@dataclass(frozen=True)
class Split:
    """The result of a mixer's or channel mixer's ``split()``.

    With ``None``, or without such a method, every process does all of the work.

    Args:
        units: number of equal, indivisible parts of the work (heads, inner channels).
        what: the option that determines ``units``, for messages.
        outputs: linear layers whose outputs are divided among processes, by name, with the sizes of the blocks that
            the outputs consist of, in order. A process has the same share of every block.
        inputs: linear layers that read these outputs, each process its own share; their results are added up.
        state: a process carries the state of its own share only.
    """

    units: int
    what: str
    outputs: dict[str, list[int]]
    inputs: list[str]
    state: bool = False

    def check(self, ranks: int) -> None:
        """Refuse a number of processes that does not divide the work. Raises ``UserError``."""
        if self.units % ranks:
            near = max(count for count in divisors(self.units) if count <= ranks)
            raise UserError(
                f"trainer.tensor_parallel={ranks}: must divide {self.what}, here {self.units} "
                f"(nearest that does: {near})"
            )


_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
"""The odd number next to 2^64 / golden ratio, as a signed one (Knuth 1998, section 6.4): products modulo 2^64 mix."""


class NGramEmbedding(nn.Module):
    """The sum of a row for the pair, one for the triple, ... that end at each token, added to its own embedding.

    Each pair, triple and so on of tokens has a row in a table. If a table has too few rows, a hash decides which
    of them share a row (Svenstrup et al. 2017, "Hash embeddings", with a single hash function; Huang et al.
    2025, "Over-tokenized Transformer", section 3.2). A lookup costs no operation of a matrix product, however large the
    tables. Before the first token of a sequence there is a token that occurs nowhere else.

    Dimension legend: B sequences, T tokens, S tokens with those before them, D width.

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
