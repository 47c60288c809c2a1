"""Beam search with any model: the most probable continuations of prompts, with carried state.

Each step extends the hypotheses of a prompt by every token and keeps the best ones (Sutskever et al. 2014, section
3.2). A hypothesis is a row of the batch; one that is extended by several tokens has its state repeated. So a prompt is
read once. Prompts of unequal length are searched together: a longer one is read on while shorter ones are continued.

Dimension legend: B rows, C candidates of a row, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from lmlab.models.decoding import Continuation, Decoding, Ending, Row, only_allowed, refuse_nan
from lmlab.models.language_model import LanguageModel
from lmlab.models.reading import Sequences, by_length, evaluation_mode


class Hypothesis(NamedTuple):
    """The beginning of a continuation.

    Attributes:
        total: sum of the log-probabilities after the repetition penalty; never positive.
    """

    tokens: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    total: float = 0.0


class Candidate(NamedTuple):
    """A hypothesis extended by a token.

    Attributes:
        total: that of the extended hypothesis.
        parent: number of the hypothesis among the running ones.
        log_prob: log-probability of the token under the model.
    """

    total: float
    parent: int
    token: int
    log_prob: float


class Search:
    """The search for the continuations of one prompt.

    Attributes:
        row: the prompt and what ends its continuations.
        running: the hypotheses that are to be extended; none once the search is complete.
        finished: the best continuations that have ended, the best first.
    """

    def __init__(self, row: Row, decoding: Decoding) -> None:
        self.row = row
        self.running = [Hypothesis()]
        self.finished: list[Continuation] = []
        self._beams, self._best, self._power = decoding.beams, decoding.best, decoding.length_penalty
        self._limit = row.limit(decoding.length)

    def seen(self) -> list[set[int]]:
        """Return, for each running hypothesis, the tokens that the repetition penalty applies to."""
        prompt = set(self.row.prompt)
        return [prompt.union(hypothesis.tokens).difference(self.row.stop) for hypothesis in self.running]

    def extend(self, candidates: Iterable[Candidate]) -> list[int]:
        """Replace the running hypotheses by the best candidates; return the numbers of the hypotheses they extend.

        Of the best ``beams`` candidates, those that have ended are finished. The best ``beams`` of those that have not
        ended go on, unless none of them can become better than the finished ones.
        """
        running: list[tuple[int, Hypothesis]] = []
        for rank, candidate in enumerate(sorted(candidates, key=lambda each: -each.total)):
            if len(running) == self._beams or candidate.total == -math.inf:
                break
            parent = self.running[candidate.parent]
            tokens, log_probs = (*parent.tokens, candidate.token), (*parent.log_probs, candidate.log_prob)
            hypothesis = Hypothesis(tokens, log_probs, candidate.total)
            ended_by = self.row.end(tokens) or ("length" if len(tokens) == self._limit else None)
            if ended_by is None:
                running.append((candidate.parent, hypothesis))
            elif rank < self._beams:
                self._finish(hypothesis, ended_by)
        running = _in_place(running)
        self.running = [hypothesis for _, hypothesis in running]
        if self._is_complete():
            self.running = []
        return [parent for parent, _ in running[: len(self.running)]]

    def _finish(self, hypothesis: Hypothesis, ended_by: Ending) -> None:
        score = hypothesis.total / len(hypothesis.tokens) ** self._power
        self.finished.append(Continuation([*hypothesis.tokens], [*hypothesis.log_probs], ended_by, score))
        self.finished.sort(key=lambda continuation: -continuation.score)
        del self.finished[self._best :]

    def _is_complete(self) -> bool:
        """Return whether no running hypothesis can become one of the best."""
        if len(self.finished) < self._best or not self.running:
            return False
        # A total never grows, and divided by the largest length it is the least negative.
        highest = max(hypothesis.total for hypothesis in self.running) / self._limit**self._power
        return self.finished[-1].score >= highest


def _in_place(running: Sequence[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
    """Return hypotheses, with their parents' numbers, so that as many as possible have the numbers of their parents.

    The states of those need not be moved.
    """
    by_number: dict[int, tuple[int, Hypothesis]] = {}
    others = []
    for parent, hypothesis in running:
        if parent < len(running) and parent not in by_number:
            by_number[parent] = (parent, hypothesis)
        else:
            others.append((parent, hypothesis))
    remaining = iter(others)
    return [by_number[number] if number in by_number else next(remaining) for number in range(len(running))]


def beam_search(
    model: LanguageModel, rows: Sequence[Row], decoding: Decoding, context: int, batch_size: int = 64
) -> list[list[Continuation]]:
    """Return the best continuations of each of ``rows``, the best first: ``decoding.best``, or all if there are fewer.

    The model may be in training: it reads in evaluation mode, without gradient, and its mode is restored. The rows are
    not changed. The continuations of a row depend on the row alone, not on other rows or ``batch_size``.

    Args:
        context: limit of tokens that attention sees.
        batch_size: beams continued together, at least those of one row; reduced if they do not fit into memory.

    Raises:
        UserError: the model predicts NaN.
    """

    @torch.no_grad()
    def searched(numbers: Sequence[int]) -> list[list[Continuation]]:
        active = searches = [Search(rows[number], decoding) for number in numbers]
        sequences = Sequences(model, [search.row.prompt for search in searches], context)
        while active:
            candidates_B = _candidates(model, sequences, active, decoding)
            places: list[int] = []
            first = 0
            for search in active:
                end = first + len(search.running)
                if sequences.unread[first]:  # the prompt is still being read, by its only hypothesis
                    places.append(first)
                else:
                    own = [candidate for candidates in candidates_B[first:end] for candidate in candidates]
                    places += [first + parent for parent in search.extend(own)]
                first = end
            active = [search for search in active if search.running]
            if not active:
                break
            sequences.select(places)
            running = [hypothesis for search in active for hypothesis in search.running]
            for unread, hypothesis in zip(sequences.unread, running, strict=True):
                unread.extend(hypothesis.tokens[-1:])
            sequences.read_next()
        return [search.finished for search in searches]

    with evaluation_mode(model):
        return by_length([len(row.prompt) for row in rows], max(1, batch_size // decoding.beams), searched)


def _candidates(
    model: LanguageModel, sequences: Sequences, searches: Sequence[Search], decoding: Decoding
) -> list[list[Candidate]]:
    """Return candidates for each row of the batch, the best of its hypothesis; none while its prompt is being read."""
    candidates_B: list[list[Candidate]] = [[] for _ in sequences.unread]
    if not (ready := sequences.ready()):
        return candidates_B
    parents = [(number, each.total) for search in searches for number, each in enumerate(search.running)]
    log_probs_BV = model.head.log_probs(sequences.last_BD[ready])
    if decoding.repetition_penalty == 1:
        penalised_BV = log_probs_BV
    else:
        seen = [tokens for search in searches for tokens in search.seen()]
        penalised_BV = decoding.penalise(log_probs_BV, [seen[place] for place in ready])
    written = [(search.row, hypothesis.tokens) for search in searches for hypothesis in search.running]
    rows, tokens = zip(*(written[place] for place in ready), strict=True)
    penalised_BV = only_allowed(penalised_BV, rows, tokens)
    # As many that none of the best of all hypotheses is missing, unless more than half of them have ended.
    best_BC, tokens_BC = penalised_BV.topk(min(2 * decoding.beams, penalised_BV.shape[1]))
    refuse_nan(best_BC)  # NaN counts as the largest
    columns = (best_BC, tokens_BC, log_probs_BV.gather(1, tokens_BC))
    for place, *of_row in zip(ready, *(column.tolist() for column in columns), strict=True):
        parent, total = parents[place]
        candidates_B[place] = [
            Candidate(total + penalised, parent, token, log_prob)
            for penalised, token, log_prob in zip(*of_row, strict=True)
        ]
    return candidates_B
