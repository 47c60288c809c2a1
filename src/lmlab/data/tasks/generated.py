"""Generated tasks: every step draws new sequences; all runs are scored on the same ones."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmlab.data.batch import Batch
from lmlab.data.dataset import NOT_SCORED, Opening
from lmlab.data.order import share
from lmlab.data.synthetic.generator import Generator
from lmlab.data.tasks.task import Task
from lmlab.data.tokenizers import Symbols, Tokenizer
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge

SEQUENCES = 1000
"""Number of sequences of a scored split."""
_SCORED, _TRAINED = 0, 1
_SPLITS = ("validation", "longer")


class GeneratedTask(Task):
    """Sequences of ``context`` tokens, drawn from (seed, step), and splits drawn from a seed of their own.

    Args:
        tokenizer: shows the generator's symbols.
        seed: seed of the training sequences.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: tokens in a sequence of training and of the split ``validation``.
        validation_tokens: score only as many sequences as hold that many tokens; ``None``: a thousand sequences.

    Raises:
        UserError: an instance of the task does not fit into ``context``.
    """

    def __init__(
        self,
        generator: Generator,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int,
        context: int,
        validation_tokens: int | None = None,
    ) -> None:
        generator.check(context)
        self.generator = generator
        self.tokenizer = tokenizer
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        self.validation_tokens = validation_tokens
        self.scored_splits = _SPLITS if generator.longer is not None else _SPLITS[:1]
        self.longest = context * (generator.longer or 1)
        self.fingerprint = self._fingerprint()
        self._draw = cache(self._drawn)

    @classmethod
    def of(cls, generator: Generator, opening: Opening) -> "GeneratedTask":
        """Return the task of ``generator`` in a run. Raises ``UserError`` for an option that does not fit it."""
        name, tokenizer = generator.name, opening.tokenizer
        if not isinstance(tokenizer, Symbols):
            raise UserError(
                f"tokenizer: {name} is a generated task, whose symbols need no tokenizer (leave it at symbols)"
            )
        if opening.carry_state:
            raise UserError(f"batch.carry_state=true: the sequences of {name} do not continue in the next batch")
        if tokenizer.fitted and tokenizer.size != generator.vocabulary:
            raise UserError(f"tokenizer.size={tokenizer.size}: {name} has {generator.vocabulary} symbols")
        symbols = Symbols(generator.vocabulary)
        return cls(generator, symbols, opening.seed, opening.batch_size, opening.context, opening.validation_tokens)

    def describe(self) -> dict[str, Any]:
        lengths = {split: self.length(split) for split in self.scored_splits}
        return {
            "name": self.generator.name,
            "licence": "generated",
            "fingerprint": self.fingerprint,
            "vocabulary": self.generator.vocabulary,
            "splits": {split: {"sequences": self.sequences(split), "length": lengths[split]} for split in lengths},
        }

    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        own = share(self.batch_size, rank, world, micro, accumulate)
        # Draw the whole batch, so that a sequence does not depend on the distribution over ranks.
        tokens, targets = self.generator.generate(_random(_TRAINED, self.seed, step), self.batch_size, self.context)
        return Batch.part_of_step(tokens, targets, own)

    def length(self, split: str) -> int:
        return self.context * (self.generator.longer or 1) if split == "longer" else self.context

    def sequences(self, split: str) -> int:
        limit = self.validation_tokens
        return SEQUENCES if limit is None else min(SEQUENCES, max(1, limit // self.length(split)))

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        tokens, targets = self._draw(split)
        numbers = np.arange(self.sequences(split)) if sequences is None else np.asarray(sequences)
        for first in range(0, len(numbers), self.batch_size):
            rows = numbers[first : first + self.batch_size]
            yield Batch(torch.from_numpy(tokens[rows]), torch.from_numpy(targets[rows]))

    def for_evaluation(self, split: str, context: int | None) -> "GeneratedTask":
        self.check_split(split)
        if context is None:
            return self
        if split != "validation":
            raise UserError(f"context={context}: give the length of the sequences with split=validation")
        return GeneratedTask(self.generator, self.tokenizer, self.seed, self.batch_size, context)

    def judges(self, split: str) -> "list[Judge]":
        return self.generator.judges(self.tokenizer, self.context)

    def _drawn(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        random = _random(_SCORED, _SPLITS.index(split), self.length(split))
        return self.generator.generate(random, self.sequences(split), self.length(split))

    def _fingerprint(self) -> str:
        """Return a fingerprint of drawn sequences: other versions of the code or NumPy may draw others."""
        digest = hashlib.sha256(f"{self.generator.name}\0{self.context}\0{self.generator.longer}".encode())
        drawn = self.generator.generate(_random(_SCORED, len(_SPLITS), 0), 64, self.context)
        _check(self.generator, drawn, (64, self.context))
        for part in drawn:
            digest.update(np.ascontiguousarray(part, "<i8").tobytes())
        return digest.hexdigest()


def _check(generator: Generator, drawn: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> None:
    """Refuse sequences that cannot be trained on. Raises ``UserError``."""
    for what, part, least in zip(("inputs", "targets"), drawn, (0, NOT_SCORED), strict=True):
        kind = f"{part.dtype} {list(part.shape)}"
        if part.shape != shape or part.dtype != np.int64:
            raise UserError(f"data: {generator.name} generated {what} of {kind}, expected int64 {list(shape)}")
        if part.min() < least or part.max() >= generator.vocabulary:
            span = f"{part.min()} to {part.max()}"
            raise UserError(
                f"data: {generator.name} generated {what} {span}, expected {least} to {generator.vocabulary - 1}"
            )
    if (drawn[1] == NOT_SCORED).all(1).any():
        raise UserError(f"data: {generator.name} generated a sequence without a target, expected at least one")


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
