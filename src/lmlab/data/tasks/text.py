"""Plain text as a task: predict each token from those before it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmlab.data import baselines
from lmlab.data.baselines import Baselines
from lmlab.data.batch import Batch
from lmlab.data.corpora.corpus import Corpus
from lmlab.data.dataset import Opening
from lmlab.data.document_order import DocumentOrder
from lmlab.data.order import Order, TrainingOrder, share
from lmlab.data.preparation import prepare
from lmlab.data.shards import TokenizedCorpus, find_prepared, frequencies, open_whole
from lmlab.data.tasks.task import Task
from lmlab.data.windows import Reading, Windows, read

if TYPE_CHECKING:
    from lmlab.data.judges import Judge


_DECODED = 1 << 16
"""Tokens of a corpus that are decoded at a time."""


class ScoredText:
    """A tokenised corpus whose splits can be scored in several ways.

    Args:
        context: default number of tokens in a window.
        separate: read every document by itself.
    """

    def __init__(self, corpus: TokenizedCorpus, context: int, separate: bool = False) -> None:
        self.corpus = corpus
        self.context = context
        self.separate = separate
        self.reading_options: tuple[str, ...] = ("context", "stride") if separate else ("streams", "context", "stride")

    def length(self, split: str) -> int:
        return self.context

    def judges(self, split: str) -> "list[Judge]":
        from lmlab.data.judges import Likelihood  # imports torchmetrics, which opening a task does not need

        return [Likelihood(self.corpus.tokens_per_byte(split))]

    def evaluation(self, split: str, readings: Sequence[str], reading: Reading) -> dict[str, Iterator[Batch]]:
        """Return the batches of a split for each way of reading it (see :func:`lmlab.data.windows.read`)."""
        stream = self.corpus.tokens(split)
        return {name: read(stream, name, **asdict(reading), starts=self._starts(split)) for name in readings}

    def scored(self, split: str) -> int:
        return len(self.corpus.tokens(split)) - 1

    def _starts(self, split: str) -> np.ndarray | None:
        """Return the places of the separators that begin a document; ``None``: documents are read as one stream."""
        return self.corpus.starts(split) if self.separate else None


class TextTask(ScoredText, Task):
    """A tokenised corpus in the order of ``order``, and its validation split in disjoint windows of the context.

    Args:
        order: a :class:`DocumentOrder` for documents that are read one by one, in validations as well.
        validation_tokens: score only this many tokens of the validation split, from its start; ``None``: all.
    """

    scored_splits = ("validation",)

    def __init__(
        self, corpus: TokenizedCorpus, order: Order | DocumentOrder, validation_tokens: int | None = None
    ) -> None:
        super().__init__(corpus, order.context, isinstance(order, DocumentOrder))
        self.order = order
        self.validation_tokens = validation_tokens
        self.tokenizer = corpus.tokenizer
        self.fingerprint = corpus.fingerprint
        self.notes = (*corpus.notes, *self._about_documents())
        self.tokens_per_step = order.tokens_per_step if isinstance(order, DocumentOrder) else None
        self.longest = order.context
        self.batch_size = order.batch_size

    @classmethod
    def of(cls, corpus: Corpus, opening: Opening) -> "TextTask":
        """Return the task of ``corpus`` in a run, tokenised once and cached.

        Raises:
            UserError: the text is missing, damaged or changed since the run started, or does not fit the tokenizer.
        """
        if corpus.stream:
            from lmlab.data.tasks.streamed_text import StreamedTextTask

            return StreamedTextTask.of(corpus, opening)
        cache, tokens = opening.cache, None
        if (prepared := opening.prepared) is not None:
            tokens = find_prepared(
                prepared.fingerprint,
                prepared.caches,
                partial(open_whole, kind=type(opening.tokenizer), starts=opening.separate),
            )
        if tokens is None:
            corpus.check_same_text(opening)
            if not opening.began:  # a run of an earlier version may have had such options
                corpus.check()
            opening.tokenizer.check()
            corpus.download = opening.download
            tokens = prepare(corpus, opening.tokenizer, cache, opening.corpora, progress=opening.progress)
        if opening.separate:
            train = tokens.tokens("train"), tokens.starts("train")
            documents = DocumentOrder(*train, opening.seed, opening.batch_size, opening.context)
            return cls(tokens, documents, opening.validation_tokens)
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
        if isinstance(self.order, DocumentOrder):
            return self.order.batch(step, rank, world, micro, accumulate)
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
        if isinstance(self.order, DocumentOrder):
            return self.order.rows(numbers_R)
        rows = self.order.rows(numbers_R)
        return rows[:, :-1], rows[:, 1:]

    def training_tokens(self) -> int:
        return self.corpus.count("train")

    def token_counts(self, split: str) -> np.ndarray:
        return frequencies(self.corpus, split)

    def scoring_order(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        numbers = super().scoring_order(split, sequences)
        if not self.separate:
            return numbers
        lengths_N = self._windows(split).lengths()[numbers]
        return numbers[np.argsort(lengths_N, kind="stable")]  # rows of similar length together

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        windows, numbers = self._windows(split), self.scoring_order(split, sequences)
        firsts = range(0, len(numbers), self.batch_size)
        return (windows.batch(numbers[first : first + self.batch_size]) for first in firsts)

    def judges(self, split: str) -> "list[Judge]":
        from lmlab.data.judges import Breakdown, Likelihood

        tokens_per_byte = self.corpus.tokens_per_byte(split, self.validation_tokens)
        return [Likelihood(tokens_per_byte, Breakdown(self.order.context, partial(self.token_counts, "train")))]

    def baselines(self, split: str) -> Baselines:
        stream = self._stream(split)
        whole = self.validation_tokens is None
        scored_V = self.token_counts(split) if whole else np.bincount(stream[1:], minlength=self.tokenizer.size)
        tokens_per_byte = self.corpus.tokens_per_byte(split, self.validation_tokens)
        return baselines.of_tokens(self.token_counts("train"), scored_V, tokens_per_byte)

    def for_evaluation(self, split: str, context: int | None) -> "TextTask":
        return self

    def training_texts(self) -> Iterator[str]:
        return self._decoded(self.corpus.tokens("train"))

    def _decoded(self, stream: np.ndarray) -> Iterator[str]:
        for first in range(1, len(stream), _DECODED):
            yield self.tokenizer.decode(stream[first : first + _DECODED])

    def sequences(self, split: str) -> int:
        return len(self._windows(split))

    def _windows(self, split: str) -> Windows:
        """Return the windows that validations score."""
        return Windows(self._stream(split), self.order.context, self.order.context, self._starts(split))

    def _stream(self, split: str) -> np.ndarray:
        """Return the separator and the tokens that validations score."""
        stream = self.corpus.tokens(split)
        return stream if self.validation_tokens is None else stream[: self.validation_tokens + 1]

    def _about_documents(self) -> tuple[str, ...]:
        """Return a note if there is only one document to be read by itself."""
        if not self.separate or len(self.corpus.starts("train")) > 1:
            return ()
        return (f"{self.corpus.name}: its training split is one document; batch.documents=separate has little effect",)
