"""Generate text with any model, one token at a time with carried state: written once, against the contract.

Dimension legend: B rows, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from lmlab.models.beam_search import beam_search
from lmlab.models.decoding import Continuation, Decoding, Row, only_allowed
from lmlab.models.language_model import LanguageModel
from lmlab.models.reading import Sequences, by_length, evaluation_mode

Sampler = Decoding
"""The name by which objectives of users of earlier versions import :class:`Decoding`."""


class Drawn(NamedTuple):
    """A new token, its row, and its log-probability under the model (before penalty, temperature, top-k and top-p)."""

    row: int
    token: int
    log_prob: float


@torch.no_grad()
def generate(model: LanguageModel, rows: Sequence[Row], decoding: Decoding, context: int) -> Iterator[Drawn]:
    """Yield the tokens that continue each of ``rows``, greedy or sampled, each as soon as there is one for every row.

    Rows are continued together, with one forward pass per position (see :class:`lmlab.models.reading.Sequences`).

    Raises:
        UserError: the model predicts NaN.
    """
    sequences = Sequences(model, [row.prompt for row in rows], context)
    tokens: list[list[int]] = [[] for _ in rows]
    limits = [row.limit(decoding.length) for row in rows]
    seen = [set(row.prompt).difference(row.stop) for row in rows]
    active = list(range(len(rows)))
    while True:
        if ready := sequences.ready():
            log_probs_BV = model.head.log_probs(sequences.last_BD[ready])
            numbers = [active[place] for place in ready]
            penalised_BV = decoding.penalise(log_probs_BV, [seen[row] for row in numbers])
            possible_BV = only_allowed(penalised_BV, [rows[row] for row in numbers], [tokens[row] for row in numbers])
            token_B = decoding.choose(possible_BV, [rows[row].draw() for row in numbers])
            log_prob_B = log_probs_BV.gather(1, token_B[:, None])[:, 0]
            for place, token, log_prob in zip(ready, token_B.tolist(), log_prob_B.tolist(), strict=True):
                row = active[place]
                sequences.unread[place].append(token)
                tokens[row].append(token)
                seen[row].add(token)
                rows[row].ended |= rows[row].end(tokens[row]) is not None
                yield Drawn(row, token, log_prob)
        remaining = [n for n, row in enumerate(active) if len(tokens[row]) < limits[row] and not rows[row].ended]
        if not remaining:
            return
        sequences.select(remaining)
        active = [active[place] for place in remaining]
        sequences.read_next()


def decode(
    model: LanguageModel, rows: Sequence[Row], decoding: Decoding, context: int, batch_size: int = 64
) -> list[Continuation]:
    """Continue each of ``rows`` to its end, in the way that ``decoding`` says; of several beams, the best.

    Like :func:`generate`, but all at once and for any number of rows. The model may be in training: it reads in
    evaluation mode, without gradient, and its mode is restored. The rows are not changed. A row's continuation depends
    on the row alone, not on other rows or ``batch_size``.

    Args:
        context: limit of tokens that attention sees.
        batch_size: rows (with beam search, beams) continued together; reduced if they do not fit into memory.

    Raises:
        UserError: the model predicts NaN.
    """
    if decoding.beams > 1:
        return [best[0] for best in beam_search(model, rows, decoding, context, batch_size)]

    def continued(numbers: Sequence[int]) -> list[Continuation]:
        batch = [replace(rows[number], ended=False) for number in numbers]
        tokens: list[list[int]] = [[] for _ in batch]
        log_probs: list[list[float]] = [[] for _ in batch]
        for row, token, log_prob in generate(model, batch, decoding, context):
            tokens[row].append(token)
            log_probs[row].append(log_prob)
        return [
            Continuation(tokens[n], log_probs[n], row.end(tokens[n]) or "length", sum(log_probs[n]))
            for n, row in enumerate(batch)
        ]

    with evaluation_mode(model):
        return by_length([len(row.prompt) for row in rows], batch_size, continued)
