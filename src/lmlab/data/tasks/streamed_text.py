"""Plain text as a task that begins before the text is tokenised to its end."""

from collections.abc import Callable, Iterator

import numpy as np

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.dataset import Opening
from lmlab.data.order import check_length
from lmlab.data.shards import TRAIN
from lmlab.data.streamed_order import StreamedOrder
from lmlab.data.streaming import StreamedCorpus, open_streamed
from lmlab.data.tasks.text import TextTask


class StreamedTextTask(TextTask):
    """A tokenised corpus whose training split is read shard by shard while the rest is prepared.

    The breakdown of the loss and the trivial baseline count how often tokens occur in the first shard.
    """

    corpus: StreamedCorpus
    order: StreamedOrder

    @classmethod
    def of(cls, corpus: Corpus, opening: Opening) -> "StreamedTextTask":
        """Return the task of ``corpus`` in a run, with its held-out splits and first shard on disk.

        Raises:
            UserError: the text is missing, damaged or changed since the run started, or does not fit the tokenizer.
        """
        streamed: StreamedCorpus | None = None

        def ids(least: int) -> tuple[np.ndarray, bool]:
            assert streamed is not None
            return streamed.first_ids(least)

        order = StreamedOrder(ids, opening.seed, opening.batch_size, opening.context)
        streamed = open_streamed(corpus, opening, order.length_of(1))
        beginning, whole = streamed.on_disk()
        if whole:
            check_length(opening.context, len(beginning) - 1)
        return cls(streamed, order, opening.validation_tokens)

    @property
    def searched_whole(self) -> bool:  # type: ignore[override]
        return self.corpus.on_disk()[1]

    def training_texts(self) -> Iterator[str]:
        return self._decoded(self.corpus.on_disk()[0])

    def on_wait(self, call: Callable[[], None]) -> None:
        self.corpus.waiting.append(call)

    def close(self) -> None:
        self.corpus.close()

    def token_counts(self, split: str) -> np.ndarray:
        if split != TRAIN:
            return super().token_counts(split)
        ids, _ = self.corpus.beginning(self.order.length_of(1))
        return np.bincount(ids[1 : 1 + self.order.windows * self.order.context], minlength=self.tokenizer.size)
