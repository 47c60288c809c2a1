"""The base class of tasks: batches as a pure function of their number, and judges of a model on them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.config.overrides import written
from lmlab.data.batch import Batch
from lmlab.data.tokenizers import Tokenizer
from lmlab.data.windows import Reading
from lmlab.errors import UserError, nearest
from lmlab.metrics import Measures, Metric

if TYPE_CHECKING:
    from lmlab.data.baselines import Baselines
    from lmlab.data.judges import Judge
    from lmlab.models.decoding_options import Settings


class Task(ABC):
    """Batches to train on, and batches and judges of every split that is scored while training.

    Attributes:
        tokenizer: maps between its tokens and text.
        fingerprint: SHA-256, in hexadecimal; results are comparable if it is equal.
        scored_splits: splits that a validation scores; the first decides which weights are best.
        longest: tokens in the longest sequence of these splits.
        batch_size: sequences in a batch.
        notes: messages to the user about its files.
        reading_options: options of ``lmlab evaluate`` that a score depends on, besides the split and the weights.
        separate: every document is read by itself.
        searched_whole: :meth:`training_texts` yields all of the training split.
        tokens_per_step: mean number of tokens that an optimizer step reads; ``None``: batch size times context.
    """

    notes: tuple[str, ...] = ()
    tokenizer: Tokenizer
    fingerprint: str
    scored_splits: tuple[str, ...]
    longest: int
    batch_size: int
    reading_options: tuple[str, ...] = ("context",)
    separate: bool = False
    searched_whole: bool = True
    tokens_per_step: float | None = None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the record of a run's data: name, licence, fingerprint and more, as plain values."""

    @abstractmethod
    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        """Return one micro-batch of an optimizer step; a step has the same rows for any number of ranks."""

    def training_rows(self, numbers_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets [R, T] int64 of training sequences, by number over all steps.

        Raises:
            UserError: its sequences cannot be mixed with those of other tasks.
        """
        raise UserError(f"data.weights: {type(self).__name__} cannot be part of a mixture")

    def training_tokens(self) -> int:
        """Return the number of tokens of the training split."""
        raise UserError(f"data.weights: {type(self).__name__} has no size; give each data set a weight")

    def token_counts(self, split: str) -> np.ndarray:
        """Return [V] int64: how often each type occurs in a split; by default among the tokens that are read.

        Raises:
            UserError: there is no such split.
        """
        self.check_split(split)
        counts = np.zeros(self.tokenizer.size, np.int64)
        for batch in self.batches(split):
            counts += np.bincount(batch.tokens.flatten().numpy(), minlength=len(counts))
        return counts

    @abstractmethod
    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        """Yield the batches of a scored split, with every scored position once.

        Args:
            sequences: numbers of the sequences to score; ``None``: all.
        """

    @abstractmethod
    def judges(self, split: str) -> "list[Judge]":
        """Return new judges of a split; the first metric of the first judge of the first split is the primary one."""

    @abstractmethod
    def sequences(self, split: str) -> int:
        """Return how many sequences of a split are scored."""

    @abstractmethod
    def length(self, split: str) -> int:
        """Return how many tokens a sequence of a split has; the last of a text may have fewer."""

    def measures(self) -> Measures:
        """Return the metrics of all splits; narrow tables show the first ones of the first split and equal names."""
        metrics: dict[str, Metric] = {}
        shown: list[str] = []
        for split in self.scored_splits:
            for number, judge in enumerate(self.judges(split)):
                metrics |= {metric.name: metric for metric in judge.metrics if metric.name not in metrics}
                if number == 0:
                    leading = judge.metrics[: judge.shown if split == self.scored_splits[0] else 1]
                    shown += [f"{split}/{metric.name}" for metric in leading]
        return Measures(shown[0], tuple(shown), metrics)

    def scoring_order(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return the numbers of the sequences of a split in the order of :meth:`batches`."""
        return np.arange(self.sequences(split)) if sequences is None else np.asarray(sequences)

    def notes_of(self, split: str) -> tuple[str, ...]:
        """Return the messages to the user that are about a split; by default all."""
        return self.notes

    def prompts(self, split: str) -> list[str] | None:
        """Return the text of each prompt of a split, before it is cut; ``None``: its sequences are no examples."""
        return None

    def baselines(self, split: str) -> "Baselines":
        """Return the scores of trivial baselines on what is scored of a split; by default there are none."""
        return {}

    def training_texts(self) -> Iterator[str]:
        """Yield the text of the training split: of each example, or of parts of a corpus; by default there is none."""
        return iter(())

    def with_shots(self, split: str, shots: int) -> "Task":
        """Return the task with the same ``shots`` training examples before every prompt of a split.

        Raises:
            UserError: it has no examples, or they leave no room for a prompt.
        """
        raise UserError(f"shots={shots}: only tasks of examples have some to put before a prompt; leave it out")

    def with_decoding(self, split: str, settings: "Settings") -> "Task":
        """Return the task whose answers in a split are decoded with other settings in place of its own.

        Raises:
            UserError: a setting is wrong, or no answers are generated.
        """
        name, value = next(iter(settings.items()))
        raise UserError(
            f"{name}={written(value)}: is for answers that a model generates, and it generates none for these data; "
            "leave it out"
        )

    def decoding(self, split: str) -> str:
        """Return the settings by which answers in a split are decoded, on one line; empty if none are generated."""
        return next((judge.decoding for judge in self.judges(split) if judge.decoding), "")

    def counts(self, split: str) -> dict[str, Any]:
        """Return the recorded counts of a split; by default those that :meth:`describe` has."""
        counts: dict[str, Any] = self.describe().get("splits", {}).get(split, {})
        return counts

    def for_evaluation(self, split: str, context: int | None) -> "Task":
        """Return the task with sequences of another length in ``split``; by default none have another length.

        Raises:
            UserError: ``context`` is given, or the split is not scored.
        """
        self.check_split(split)
        if context is not None:
            raise UserError(f"context={context}: sequences of this task have their own length; leave it out")
        return self

    def evaluation(self, split: str, readings: Sequence[str], reading: Reading) -> dict[str, Iterator[Batch]]:
        """Return the batches of a split for each way of reading it; here there is one, ``answers``.

        Args:
            readings: requested ways of reading a text.
            reading: the options of ``lmlab evaluate``.
        """
        return {"answers": self.batches(split)}

    def scored(self, split: str) -> int:
        """Return how many positions of a split are scored."""
        return sum(int((batch.targets >= 0).sum()) for batch in self.batches(split))

    def on_wait(self, call: Callable[[], None]) -> None:  # noqa: B027
        """Have ``call`` called, many times, while a training batch waits for its data; by default none waits."""

    def close(self) -> None:  # noqa: B027
        """End work in the background, after training."""

    def check_split(self, split: str) -> None:
        """Refuse a split that is not scored. Raises ``UserError``."""
        if split not in self.scored_splits:
            raise UserError(f"split={split}: there is no such split{nearest(split, self.scored_splits)}")
