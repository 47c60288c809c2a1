"""What a run trains on and is scored on, text or a generated task: batches as a pure function of their number."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lmlab.data.batch import Batch
from lmlab.data.frequencies import frequencies
from lmlab.data.order import TrainingOrder, share
from lmlab.data.shards import TokenizedCorpus
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.windows import EvaluationBatch, fixed_windows


class Source(ABC):
    """Batches to train on, and batches of every split that is scored while training.

    Attributes:
        tokenizer: between its tokens and text.
        fingerprint: SHA-256, in hexadecimal: equal exactly when results compare.
        scored_splits: splits that a validation scores; the first decides which weights are best.
        longest: tokens in the longest sequence of any of them.
        batch_size: sequences in a batch.
        notes: lines that a user should read about its files.
    """

    notes: tuple[str, ...] = ()
    tokenizer: Tokenizer
    fingerprint: str
    scored_splits: tuple[str, ...]
    longest: int
    batch_size: int

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a run records about its data: name, licence, fingerprint and more, as plain values."""

    @abstractmethod
    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        """Return one micro-batch of an optimizer step; all of a step's are the same rows however they are shared."""

    @abstractmethod
    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[EvaluationBatch]:
        """Yield the batches of a scored split, in which everything that is scored comes once.

        Args:
            sequences: the numbers of those to score; ``None``: all.
        """

    @abstractmethod
    def sequences(self, split: str) -> int:
        """Return how many sequences of a split are scored."""

    @abstractmethod
    def length(self, split: str) -> int:
        """Return how many tokens a sequence of a split has; the last of a text may have fewer."""

    @abstractmethod
    def tokens_per_byte(self, split: str) -> float | None:
        """Return the scored tokens of a split per byte of their text; ``None`` where there is no text."""

    @abstractmethod
    def training_counts(self) -> np.ndarray | None:
        """Return [V], how often each type is a token of the training split; ``None`` where there is no text."""


class CorpusSource(Source):
    """A tokenised corpus in the order of ``order``, and its validation split in disjoint windows of the context.

    Args:
        validation_tokens: score only the first so many tokens of the validation split; ``None``: all.
    """

    scored_splits = ("validation",)

    def __init__(self, corpus: TokenizedCorpus, order: TrainingOrder, validation_tokens: int | None = None) -> None:
        self.corpus = corpus
        self.order = order
        self.validation_tokens = validation_tokens
        self.tokenizer = corpus.tokenizer
        self.fingerprint = corpus.fingerprint
        self.notes = corpus.notes
        self.longest = order.context
        self.batch_size = order.batch_size

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

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[EvaluationBatch]:
        return fixed_windows(self._stream(split), self.order.context, self.batch_size, sequences)

    def sequences(self, split: str) -> int:
        return -(-(len(self._stream(split)) - 1) // self.order.context)

    def length(self, split: str) -> int:
        return self.order.context

    def tokens_per_byte(self, split: str) -> float:
        return self.corpus.tokens_per_byte(split, self.validation_tokens)

    def training_counts(self) -> np.ndarray:
        return frequencies(self.corpus, "train")

    def _stream(self, split: str) -> np.ndarray:
        stream = self.corpus.tokens(split)
        return stream if self.validation_tokens is None else stream[: self.validation_tokens + 1]
