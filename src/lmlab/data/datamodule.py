"""The LightningDataModule: batches as a pure function of seed, step and rank."""

import itertools
from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset

from lmlab.data.batch import Batch, as_batch
from lmlab.data.source import Source
from lmlab.data.windows import NOTHING


class LanguageDataModule(pl.LightningDataModule):
    """Training batches of ``source``, and one loader for each split that it scores.

    Args:
        accumulate: micro-batches that make up one optimizer step on each rank.
        left_out: pairs (first, end): when ``end`` steps were done, the run went back to where ``first`` were, and from
            there on the batches of ``first`` to ``end`` - 1 are left out; ``None`` for the step that it starts at now.
    """

    def __init__(self, source: Source, accumulate: int = 1, left_out: Sequence[tuple[int | None, int]] = ()) -> None:
        super().__init__()
        self.source = source
        self.accumulate = accumulate
        self.left_out = left_out

    def train_dataloader(self) -> DataLoader[Batch]:
        return _loader(TrainingBatches(self))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [_loader(ScoredBatches(self, split)) for split in self.source.scored_splits]


def share_of_rows(trainer: pl.Trainer) -> tuple[int, int]:
    """Return (n, N): this rank reads the n-th of N shares of every batch.

    Ranks that share the work of each layer read the same one.
    """
    sharing = trainer.distributed_sampler_kwargs or {"rank": 0, "num_replicas": 1}
    return sharing["rank"], sharing["num_replicas"]


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
        rank, world = share_of_rows(trainer)
        start = trainer.global_step
        jumps = [(start if first is None else first, end) for first, end in self.data.left_out]
        for step in range(start, trainer.max_steps):
            place = step + sum(end - first for first, end in jumps if first <= step)
            for micro in range(accumulate):
                batch = self.data.source.training_batch(place, rank, world, micro, accumulate)
                batch.fresh |= any(first == step for first, _ in jumps)
                yield batch


class ScoredBatches(IterableDataset[Batch]):
    """This rank's share of a split: of N shares, every N-th batch.

    All ranks have the same number of batches, so that none waits for another: one in which nothing is scored may be the
    last.
    """

    def __init__(self, data: LanguageDataModule, split: str) -> None:
        self.data = data
        self.split = split

    def __len__(self) -> int:
        assert self.data.trainer is not None
        return -(-self.data.source.number_of_batches(self.split) // share_of_rows(self.data.trainer)[1])

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.data.trainer
        assert trainer is not None
        rank, world = share_of_rows(trainer)
        own = itertools.islice(self.data.source.batches(self.split), rank, None, world)
        for batch in itertools.islice(itertools.chain(own, itertools.repeat(NOTHING)), len(self)):
            yield as_batch(batch)
