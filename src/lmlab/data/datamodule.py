"""The LightningDataModule: batches as a pure function of seed, step and rank."""

import itertools
import math
from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from lmlab.data.batch import Batch, as_batch
from lmlab.data.order import TrainingOrder
from lmlab.data.shards import TokenizedCorpus
from lmlab.data.windows import NOTHING, fixed_windows


class LanguageDataModule(pl.LightningDataModule):
    """Training batches from ``order``, and the validation split in disjoint windows of its context.

    Args:
        accumulate: micro-batches that make up one optimizer step on each rank.
        validation_tokens: score only the first so many tokens of the validation split; ``None``: all.
    """

    def __init__(
        self, corpus: TokenizedCorpus, order: TrainingOrder, accumulate: int = 1, validation_tokens: int | None = None
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.order = order
        self.accumulate = accumulate
        self.validation_tokens = validation_tokens

    def train_dataloader(self) -> DataLoader[Batch]:
        return _loader(TrainingBatches(self))

    def val_dataloader(self) -> DataLoader[Batch]:
        return _loader(ValidationBatches(self))


def _loader(batches: IterableDataset[Batch]) -> DataLoader[Batch]:
    return DataLoader(batches, batch_size=None)


class TrainingBatches(IterableDataset[Batch]):
    """The micro-batches of a run on this rank, from the trainer's current step to its last one."""

    def __init__(self, data: LanguageDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        assert self.data.trainer is not None
        return self.data.trainer.max_steps * self.data.accumulate

    def __iter__(self) -> Iterator[Batch]:
        trainer, order = self.data.trainer, self.data.order
        assert trainer is not None
        for step in range(trainer.global_step, trainer.max_steps):
            for micro in range(self.data.accumulate):
                rows = order.batch(step, trainer.global_rank, trainer.world_size, micro, self.data.accumulate)
                tokens = torch.from_numpy(rows)
                yield Batch(tokens[:, :-1], tokens[:, 1:], fresh=order.starts_new_pass(step))


class ValidationBatches(IterableDataset[Batch]):
    """This rank's share of the validation windows: every ``world_size``-th batch.

    All ranks have the same number of batches, so that none waits for another: one in which nothing is scored may be the
    last.
    """

    def __init__(self, data: LanguageDataModule) -> None:
        self.data = data
        self.stream = data.corpus.tokens("validation")
        if data.validation_tokens is not None:
            self.stream = self.stream[: data.validation_tokens + 1]

    def __len__(self) -> int:
        trainer, order = self.data.trainer, self.data.order
        assert trainer is not None
        batches = math.ceil((len(self.stream) - 1) / (order.context * order.batch_size))
        return math.ceil(batches / trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        trainer, order = self.data.trainer, self.data.order
        assert trainer is not None
        batches = fixed_windows(self.stream, order.context, order.batch_size)
        own = itertools.islice(batches, trainer.global_rank, None, trainer.world_size)
        for batch in itertools.islice(itertools.chain(own, itertools.repeat(NOTHING)), len(self)):
            yield as_batch(batch)
