"""Several tasks as one: rows of training drawn from all of them, each scored by its own judges.

Dimension legend: P parts, R rows, B rows of a step, T positions.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.data.batch import Batch
from lmlab.data.mixture import Points
from lmlab.data.order import share
from lmlab.data.tasks.task import Task
from lmlab.data.windows import Reading

if TYPE_CHECKING:
    from lmlab.data.baselines import Baselines
    from lmlab.data.judges import Judge
    from lmlab.models.decoding_options import Settings

_BLOCK = 1 << 10
"""Steps whose draws are counted together."""


class MixtureTask(Task):
    """Tasks with one tokenizer, whose training rows are drawn by weights that may change with the step.

    The part of each row depends on the seed and the row's number alone. A part's rows come in its own order, as if it
    were trained on alone. Scored splits have the names of the parts; the first part's first metric is the primary one.
    Another split of a part has the names of both: ``multi30k:test``.

    Args:
        parts: the tasks by name, with the same batch size and context.
        weights: for each part the weight at some steps, linear in between.
    """

    reading_options: tuple[str, ...] = ()

    def __init__(
        self, parts: Mapping[str, Task], weights: Mapping[str, Points], seed: int, batch_size: int, context: int
    ) -> None:
        self.parts = parts
        self.weights = weights
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        self.tokenizer = next(iter(parts.values())).tokenizer
        self.scored_splits = tuple(parts)
        self.longest = max(part.longest for part in parts.values())
        self.notes = tuple(note for part in parts.values() for note in part.notes)
        lines = [f"{name} {part.fingerprint} {weights[name]}" for name, part in parts.items()]
        self.fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        self._rows_before = [np.zeros(len(parts), np.int64)]
        self._newest_block: tuple[int, np.ndarray] | None = None

    def describe(self) -> dict[str, Any]:
        parts = {name: part.describe() for name, part in self.parts.items()}
        return {
            "name": "mixture",
            "licence": "; ".join(dict.fromkeys(str(part["licence"]) for part in parts.values())),
            "fingerprint": self.fingerprint,
            "vocabulary": self.tokenizer.size,
            "weights": {name: [list(point) for point in points] for name, points in self.weights.items()},
            "parts": parts,
            "splits": {name: part["splits"][self.parts[name].scored_splits[0]] for name, part in parts.items()},
        }

    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        own = share(self.batch_size, rank, world, micro, accumulate)
        drawn_B, first_P = self._parts_of(step), self._before(step)
        tokens_BT = np.empty((self.batch_size, self.context), np.int64)
        targets_BT = np.empty_like(tokens_BT)
        for number, part in enumerate(self.parts.values()):
            here = np.flatnonzero(drawn_B == number)
            if len(here):
                tokens_BT[here], targets_BT[here] = part.training_rows(first_P[number] + np.arange(len(here)))
        return Batch.part_of_step(tokens_BT, targets_BT, own)

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        return self._part(split).batches(self._split_of(split), sequences)

    def judges(self, split: str) -> "list[Judge]":
        return self._part(split).judges(self._split_of(split))

    def sequences(self, split: str) -> int:
        return self._part(split).sequences(self._split_of(split))

    def length(self, split: str) -> int:
        return self._part(split).length(self._split_of(split))

    def scoring_order(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        return self._part(split).scoring_order(self._split_of(split), sequences)

    def notes_of(self, split: str) -> tuple[str, ...]:
        return self._part(split).notes_of(self._split_of(split))

    def prompts(self, split: str) -> list[str] | None:
        return self._part(split).prompts(self._split_of(split))

    def baselines(self, split: str) -> "Baselines":
        return self._part(split).baselines(self._split_of(split))

    def training_texts(self) -> Iterator[str]:
        return chain.from_iterable(part.training_texts() for part in self.parts.values())

    @property
    def searched_whole(self) -> bool:  # type: ignore[override]
        return all(part.searched_whole for part in self.parts.values())

    def counts(self, split: str) -> dict[str, Any]:
        return self._part(split).counts(self._split_of(split))

    def with_decoding(self, split: str, settings: "Settings") -> "MixtureTask":
        return self._with_part(split, self._part(split).with_decoding(self._split_of(split), settings))

    def with_shots(self, split: str, shots: int) -> "MixtureTask":
        return self._with_part(split, self._part(split).with_shots(self._split_of(split), shots))

    def for_evaluation(self, split: str, context: int | None) -> "MixtureTask":
        self.check_split(split.partition(":")[0])
        return self._with_part(split, self._part(split).for_evaluation(self._split_of(split), context))

    def evaluation(self, split: str, readings: Sequence[str], reading: Reading) -> dict[str, Iterator[Batch]]:
        return self._part(split).evaluation(self._split_of(split), readings, reading)

    def scored(self, split: str) -> int:
        return self._part(split).scored(self._split_of(split))

    def on_wait(self, call: Callable[[], None]) -> None:
        for part in self.parts.values():
            part.on_wait(call)

    def close(self) -> None:
        for part in self.parts.values():
            part.close()

    def _with_part(self, split: str, part: Task) -> "MixtureTask":
        """Return the task to be scored on a split of a part, with another task as that part."""
        task = copy.copy(self)
        task.parts, task.reading_options = {**self.parts, split.partition(":")[0]: part}, part.reading_options
        task.separate = part.separate
        return task

    def _part(self, split: str) -> Task:
        """Return the part to which a split of the mixture belongs."""
        return self.parts[split.partition(":")[0]]

    def _split_of(self, split: str) -> str:
        """Return the name that a split of the mixture has in its part: without any, the one that validations score."""
        return split.partition(":")[2] or self._part(split).scored_splits[0]

    def _weights(self, steps_S: np.ndarray) -> np.ndarray:
        """Return the normalised weights [S, P] at some steps."""
        curves = [([step for step, _ in points], [weight for _, weight in points]) for points in self.weights.values()]
        weights_SP = np.stack([np.interp(steps_S, steps, weights) for steps, weights in curves], 1)
        sums_S1 = weights_SP.sum(1, keepdims=True)
        return np.where(sums_S1 > 0, weights_SP / np.maximum(sums_S1, 1e-300), 1 / len(self.parts))

    def _drawn(self, first: int, steps: int) -> np.ndarray:
        """Return the number of the part [S, B] of each row of ``steps`` steps from ``first``."""
        draws = np.random.Philox(np.random.SeedSequence((self.seed, first // _BLOCK)))
        uniform_SB = draws.random_raw(steps * self.batch_size).reshape(steps, self.batch_size) / 2.0**64
        bounds_SP = self._weights(np.arange(first, first + steps)).cumsum(1)
        drawn_SB = (uniform_SB[:, :, None] >= bounds_SP[:, None, :-1]).sum(2)
        return np.asarray(drawn_SB)

    def _parts_of(self, step: int) -> np.ndarray:
        """Return the number of the part [B] of each row of a step."""
        return self._block(step // _BLOCK)[step % _BLOCK]

    def _before(self, step: int) -> np.ndarray:
        """Return how many rows [P] of each part come before a step."""
        block, place = divmod(step, _BLOCK)
        while len(self._rows_before) <= block:
            self._rows_before.append(self._rows_before[-1] + self._count(self._block(len(self._rows_before) - 1)))
        return self._rows_before[block] + self._count(self._block(block)[:place])

    def _block(self, block: int) -> np.ndarray:
        """Return the parts [S, B] of the rows of a block of steps."""
        if self._newest_block is None or self._newest_block[0] != block:
            self._newest_block = block, self._drawn(block * _BLOCK, _BLOCK)
        return self._newest_block[1]

    def _count(self, drawn_SB: np.ndarray) -> np.ndarray:
        return np.bincount(drawn_SB.ravel(), minlength=len(self.parts)).astype(np.int64)
