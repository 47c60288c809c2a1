"""The LightningDataModule: batches as a pure function of seed, step and rank."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset

from lmlab.data.batch import Batch, nothing
from lmlab.data.tasks import Task
from lmlab.data.windows import evenly_spaced


class LanguageDataModule(pl.LightningDataModule):
    """Training batches of ``task``, and one loader for each scored split.

    Args:
        accumulate: micro-batches that make up one optimizer step on each rank.
        left_out: rollbacks as pairs (first, end): after ``end`` steps, the run resumed from step ``first``, and from
            then on leaves out the batches ``first`` to ``end`` - 1. ``first`` is ``None`` for the step at which it
            starts now.
        part: tokens that each validation but the last scores; the last scores all; ``None``: all.
    """

    def __init__(
        self,
        task: Task,
        accumulate: int = 1,
        left_out: Sequence[tuple[int | None, int]] = (),
        part: int | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.accumulate = accumulate
        self.left_out = left_out
        self.part = part
        self.first = 0
        """The step of the data order at the first optimizer step."""
        self.again: list[str] = []
        """Splits that a validation reads again, after those of the task."""

    def teardown(self, stage: str) -> None:
        if stage == "fit":
            self.task.close()

    def on_exception(self, exception: BaseException) -> None:
        self.task.close()

    def train_dataloader(self) -> DataLoader[Batch]:
        return _loader(TrainingBatches(self))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Return loaders for the part of each split, and for the rest of each, which only the last validation reads."""
        scored = [(split, *self.scored[split]) for split in (*self.scored, *self.again)]
        parts = [ScoredBatches(self, split, part) for split, part, _ in scored]
        rests = [ScoredBatches(self, split, rest, only_last=True) for split, _, rest in scored]
        return [_loader(batches) for batches in (parts + rests if self.leaves_out else parts)]

    @functools.cached_property
    def scored(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return, by split, the numbers of sequences that every validation scores, and of those only the last scores.

        The former are evenly spaced, so that they represent the whole split.
        """
        sequences = {}
        for split in self.task.scored_splits:
            whole, length = self.task.sequences(split), self.task.length(split)
            number = whole if self.part is None else max(1, self.part // (len(self.task.scored_splits) * length))
            part = evenly_spaced(number, whole)
            sequences[split] = part, np.setdiff1d(np.arange(whole), part)
        return sequences

    @property
    def leaves_out(self) -> bool:
        """Return whether validations before the last score only a part."""
        return any(len(rest) for _, rest in self.scored.values())

    @property
    def validates_all(self) -> bool:
        """Return whether the current or next validation scores everything."""
        assert self.trainer is not None
        last = self.trainer.state.fn == "validate" or self.trainer.global_step >= self.trainer.max_steps
        return last or not self.leaves_out


def share_of_rows(trainer: pl.Trainer) -> tuple[int, int]:
    """Return (n, N): this rank reads the n-th of N shares of every batch.

    Ranks that share the work of each layer read the same share.
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
            place = self.data.first + step + sum(end - first for first, end in jumps if first <= step)
            for micro in range(accumulate):
                batch = self.data.task.training_batch(place, rank, world, micro, accumulate)
                yield replace(batch, fresh=batch.fresh or any(first == step for first, _ in jumps))


class ScoredBatches(IterableDataset[Batch]):
    """This rank's share of ``sequences`` of a split: of N shares, every N-th batch.

    All ranks have the same number of batches, so that no rank waits for another: the last batch may score nothing.

    Args:
        only_last: only the last validation scores these sequences. The length is that of the last.
    """

    def __init__(self, data: LanguageDataModule, split: str, sequences: np.ndarray, only_last: bool = False) -> None:
        self.data = data
        self.split = split
        self.sequences = sequences
        self.only_last = only_last

    def __len__(self) -> int:
        assert self.data.trainer is not None
        batches = -(-len(self.sequences) // self.data.task.batch_size)
        return -(-batches // share_of_rows(self.data.trainer)[1])

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.data.trainer
        assert trainer is not None
        if self.only_last and not self.data.validates_all:
            return
        rank, world = share_of_rows(trainer)
        own = itertools.islice(self.data.task.batches(self.split, self.sequences), rank, None, world)
        yield from itertools.islice(itertools.chain(own, itertools.repeat(nothing())), len(self))
