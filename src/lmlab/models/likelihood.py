"""Log-probabilities of texts of unequal length under a model.

Dimension legend: B texts, T tokens, N tokens of a piece that is read at once, n scored ones among them, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lmlab.models.language_model import LanguageModel
from lmlab.models.reading import by_length, device_of, evaluation_mode, first_tokens, read


class Scored(NamedTuple):
    """The predictions of some tokens of a text, in order.

    Attributes:
        log_probs: log-probabilities of the tokens, in nats.
        correct: true for each token that was the most probable one.
        confidences: probability of the most probable token.
    """

    log_probs: list[float]
    correct: list[bool]
    confidences: list[float]

    @property
    def log_prob(self) -> float:
        """Return the sum of the log-probabilities."""
        return sum(self.log_probs)


def score(
    model: LanguageModel,
    texts: Sequence[Sequence[int]],
    context: int,
    begins: Sequence[int] | None = None,
    batch_size: int = 64,
) -> list[Scored]:
    """Score each of ``texts``, of any length, from one of its tokens on; those before it are a prompt, only read.

    Log-probabilities are those with which :func:`lmlab.models.generation.decode` draws the same tokens after the same
    prompt. The model may be in training: it reads in evaluation mode, without gradient, and its mode is restored.
    Results depend neither on the other texts nor on ``batch_size``.

    Args:
        context: limit of tokens that attention sees.
        begins: for each text the number of the first token to be scored, at least 1; ``None``: 1 for all, which is the
            second token.
        batch_size: texts read together; reduced if they do not fit into memory.
    """
    if not texts:
        return []
    device = device_of(model)
    begins = [1] * len(texts) if begins is None else begins

    @torch.no_grad()
    def scored(numbers: Sequence[int]) -> list[Scored]:
        longest = max(len(cut[number]) for number in numbers)
        tokens_BT = torch.zeros(len(numbers), longest, dtype=torch.int64)
        is_scored_BT = torch.zeros(len(numbers), longest, dtype=torch.bool)
        for row, number in enumerate(numbers):
            tokens_BT[row, : len(cut[number])] = torch.tensor(cut[number])
            is_scored_BT[row, begins[number] - firsts[number] : len(cut[number])] = True
        tokens_BT = tokens_BT.to(device)
        results = [Scored([], [], []) for _ in numbers]
        end = 1
        for hidden_BND, _ in read(model, tokens_BT[:, :-1], context):
            begin, end = end, end + hidden_BND.shape[1]
            rows_n, places_n = is_scored_BT[:, begin:end].nonzero(as_tuple=True)
            if len(rows_n):
                targets_n = tokens_BT[:, begin:end][rows_n, places_n]
                values = model.head.score(hidden_BND[rows_n, places_n], targets_n)
                for row, nats, correct, confidence in zip(rows_n.tolist(), *(v.tolist() for v in values), strict=True):
                    results[row].log_probs.append(-nats)
                    results[row].correct.append(correct)
                    results[row].confidences.append(confidence)
        return results

    with evaluation_mode(model):
        firsts = first_tokens(model, begins, context)
        cut = [list(text[first:]) for text, first in zip(texts, firsts, strict=True)]
        return by_length([len(text) for text in cut], batch_size, scored)
