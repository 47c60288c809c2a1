"""The LightningDataModule: batches as a pure function of seed, step and rank."""

import itertools
from collections.abc import Iterator

import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset

from lmlab.data.batch import Batch, as_batch
from lmlab.data.source import Source
from lmlab.data.windows import NOTHING


class LanguageDataModule(pl.LightningDataModule):
    """Training batches of ``source``, and one loader for each split that it scores.

    Args:
        accumulate: micro-batches that make up one optimizer step on each rank.
    """

    def __init__(self, source: Source, accumulate: int = 1) -> None:
        super().__init__()
        self.source = source
        self.accumulate = accumulate

    def train_dataloader(self) -> DataLoader[Batch]:
        return _loader(TrainingBatches(self))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [_loader(ScoredBatches(self, split)) for split in self.source.scored_splits]


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
        trainer, accumulate = self.data.trainer, self.data.accumulate
        assert trainer is not None
        for step in range(trainer.global_step, trainer.max_steps):
            for micro in range(accumulate):
                yield self.data.source.training_batch(step, trainer.global_rank, trainer.world_size, micro, accumulate)


class ScoredBatches(IterableDataset[Batch]):
    """This rank's share of a split: every ``world_size``-th batch.

    All ranks have the same number of batches, so that none waits for another: one in which nothing is scored may be the
    last.
    """

    def __init__(self, data: LanguageDataModule, split: str) -> None:
        self.data = data
        self.split = split

    def __len__(self) -> int:
        assert self.data.trainer is not None
        return -(-self.data.source.number_of_batches(self.split) // self.data.trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.data.trainer
        assert trainer is not None
        own = itertools.islice(self.data.source.batches(self.split), trainer.global_rank, None, trainer.world_size)
        for batch in itertools.islice(itertools.chain(own, itertools.repeat(NOTHING)), len(self)):
            yield as_batch(batch)
