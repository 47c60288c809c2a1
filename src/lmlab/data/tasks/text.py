"""Plain text as a task: predict each token from those before it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmlab.data.batch import Batch
from lmlab.data.corpora.corpus import Corpus
from lmlab.data.dataset import Opening
from lmlab.data.order import TrainingOrder, share
from lmlab.data.preparation import prepare
from lmlab.data.shards import TokenizedCorpus, find_prepared, frequencies
from lmlab.data.tasks.task import Task
from lmlab.data.windows import Reading, fixed_windows, read
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge


_DECODED = 1 << 16
"""Tokens of a corpus that are decoded at a time."""


class ScoredText:
    """A tokenised corpus whose splits can be scored in several ways.

    Args:
        context: default number of tokens in a window.
    """

    reading_options: tuple[str, ...] = ("streams", "context", "stride")

    def __init__(self, corpus: TokenizedCorpus, context: int) -> None:
        self.corpus = corpus
        self.context = context

    def length(self, split: str) -> int:
        return self.context

    def judges(self, split: str) -> "list[Judge]":
        from lmlab.data.judges import Likelihood  # imports torchmetrics, which opening a task does not need

        return [Likelihood(self.corpus.tokens_per_byte(split))]

    def evaluation(self, split: str, readings: Sequence[str], reading: Reading) -> dict[str, Iterator[Batch]]:
        """Return the batches of a split for each way of reading it (see :func:`lmlab.data.windows.read`)."""
        stream = self.corpus.tokens(split)
        return {name: read(stream, name, **asdict(reading)) for name in readings}

    def scored(self, split: str) -> int:
        return len(self.corpus.tokens(split)) - 1


class TextTask(ScoredText, Task):
    """A tokenised corpus in the order of ``order``, and its validation split in disjoint windows of the context.

    Args:
        validation_tokens: score only this many tokens of the validation split, from its start; ``None``: all.
    """

    scored_splits = ("validation",)

    def __init__(self, corpus: TokenizedCorpus, order: TrainingOrder, validation_tokens: int | None = None) -> None:
        super().__init__(corpus, order.context)
        self.order = order
        self.validation_tokens = validation_tokens
        self.tokenizer = corpus.tokenizer
        self.fingerprint = corpus.fingerprint
        self.notes = corpus.notes
        self.longest = order.context
        self.batch_size = order.batch_size

    @classmethod
    def of(cls, corpus: Corpus, opening: Opening) -> "TextTask":
        """Return the task of ``corpus`` in a run, tokenised once and cached.

        Raises:
            UserError: the text is missing, damaged or changed since the run started, or does not fit the tokenizer.
        """
        cache, tokens = opening.cache, None
        if (prepared := opening.prepared) is not None:
            tokens = find_prepared(prepared.fingerprint, prepared.caches, type(opening.tokenizer))
        if tokens is None:
            recorded = opening.checksum
            if recorded is not None and (now := corpus.checksum(cache)) != recorded:
                raise UserError(f"data.paths: the text has changed (SHA-256 {recorded[:12]} then, {str(now)[:12]} now)")
            if not opening.began:  # a run of an earlier version may have had such options
                corpus.check()
            opening.tokenizer.check()
            corpus.download = opening.download
            tokens = prepare(corpus, opening.tokenizer, cache, opening.corpora, progress=opening.progress)
        order = TrainingOrder(
            tokens.tokens("train"),
            seed=opening.seed,
            batch_size=opening.batch_size,
            context=opening.context,
            order="contiguous" if opening.carry_state else "shuffled",
        )
        return cls(tokens, order, opening.validation_tokens)

    def describe(self) -> dict[str, Any]:
        return self.corpus.describe()

    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        tokens = torch.from_numpy(self.order.batch(step, rank, world, micro, accumulate))
        return Batch(
            tokens[:, :-1],
            tokens[:, 1:],
            fresh=self.order.starts_new_pass(step),
            share=len(tokens) / self.batch_size,  # every token is scored
            row_share=len(tokens) / self.batch_size,
            first_row=share(self.batch_size, rank, world, micro, accumulate).start,
        )

    def training_rows(self, numbers_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order.rows(numbers_R)
        return rows[:, :-1], rows[:, 1:]

    def training_tokens(self) -> int:
        return self.corpus.count("train")

    def token_counts(self, split: str) -> np.ndarray:
        return frequencies(self.corpus, split)

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        return fixed_windows(self._stream(split), self.order.context, self.batch_size, sequences)

    def judges(self, split: str) -> "list[Judge]":
        from lmlab.data.judges import Breakdown, Likelihood

        tokens_per_byte = self.corpus.tokens_per_byte(split, self.validation_tokens)
        return [Likelihood(tokens_per_byte, Breakdown(self.order.context, partial(frequencies, self.corpus, "train")))]

    def for_evaluation(self, split: str, context: int | None) -> "TextTask":
        return self

    def training_texts(self) -> Iterator[str]:
        tokens = self.corpus.tokens("train")[1:]
        for first in range(0, len(tokens), _DECODED):
            yield self.tokenizer.decode(tokens[first : first + _DECODED])

    def sequences(self, split: str) -> int:
        return -(-(len(self._stream(split)) - 1) // self.order.context)

    def _stream(self, split: str) -> np.ndarray:
        stream = self.corpus.tokens(split)
        return stream if self.validation_tokens is None else stream[: self.validation_tokens + 1]
