"""Examples as a task: rows of whole examples to train on; prompts and right answers to be judged by.

A row is the separator, then prompt, answer and separator of each example in turn. The separator ends an answer.
Dimension legend: B rows, T positions, N examples.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmlab.data import baselines
from lmlab.data.baselines import Baselines
from lmlab.data.batch import Batch
from lmlab.data.dataset import NOT_SCORED, Opening
from lmlab.data.examples.examples import Examples
from lmlab.data.examples.prepared import PreparedExamples, open_whole, prepare_examples
from lmlab.data.order import share
from lmlab.data.shards import find_prepared
from lmlab.data.tasks.task import Task
from lmlab.data.windows import Reading
from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.judges import Judge
    from lmlab.models.decoding_options import Settings


_SHOTS = 1
"""Seed of the choice of examples before a scored prompt."""


class ExamplesTask(Task):
    """Tokenised examples in rows of ``context`` tokens, in a new order for every pass.

    The examples are shuffled by the seed and put into rows one after another; an example that does not fit into the
    rest of a row begins the next one. Of a prompt, at most ``context - length - 1`` tokens are read, where ``length``
    is the limit of a generated answer: every architecture sees the same. Which ones are read is the template's
    ``truncation_side``. Examples with longer answers are left out of training; of these, the first ``length`` tokens
    have a loss when they are scored. :attr:`notes` count both.

    Args:
        seed: seed of the training order.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: T, tokens in a sequence of training, and the most that a model sees of a prompt and its answer.
        validation_tokens: score only as many examples as fill that many tokens; ``None``: all.
        shots: number of examples of the training split that are put before every scored prompt.

    Raises:
        UserError: the context has no room for a prompt, or no answer of the training split is short enough.
    """

    def __init__(
        self,
        examples: Examples,
        prepared: PreparedExamples,
        seed: int,
        batch_size: int,
        context: int,
        validation_tokens: int | None = None,
        shots: int = 0,
    ) -> None:
        _check_room(f"batch.context={context}", context, examples.length)
        self.examples = examples
        self.prepared = prepared
        self.tokenizer = prepared.tokenizer
        self.fingerprint = prepared.fingerprint
        self.seed = seed
        self.batch_size = batch_size
        self.context = context
        self.longest = context
        self.validation_tokens = validation_tokens
        scored = tuple(split for split in examples.scored_splits if split in prepared.splits)
        self.scored_splits = scored or prepared.splits
        self.shots = shots
        self._before = self._shot_tokens()
        self.notes = (*examples.notes, *(note for split in prepared.splits for note in self.notes_of(split)))
        self._newest_order: tuple[int, np.ndarray] | None = None

    @classmethod
    def of(cls, examples: Examples, opening: Opening) -> "ExamplesTask":
        """Return the task of ``examples`` in a run. Raises ``UserError`` for an option that does not fit them."""
        if opening.carry_state:
            raise UserError(f"batch.carry_state=true: the examples of {examples.name} do not go on in the next batch")
        examples.signatures()  # refuses a metric whose library is not installed, before files are read
        if opening.trains:
            _check_splits(examples.splits)
        else:
            examples.use_as_one()
        prepared = None
        if (recorded_tokens := opening.prepared) is not None:
            prepared = find_prepared(
                recorded_tokens.fingerprint, recorded_tokens.caches, partial(open_whole, kind=type(opening.tokenizer))
            )
        if prepared is None:
            recorded = opening.checksum
            if recorded is not None and (now := examples.checksum(opening.cache)) != recorded:
                raise UserError(f"data.paths: the files changed (SHA-256 {recorded[:12]} then, {str(now)[:12]} now)")
            prepared = prepare_examples(examples, opening.tokenizer, opening.cache, opening.corpora, opening.progress)
        if opening.trains:
            _check_splits(prepared.splits)
        return cls(examples, prepared, opening.seed, opening.batch_size, opening.context, opening.validation_tokens)

    def describe(self) -> dict[str, Any]:
        """Return the record of the prepared examples, the rules of the metrics of answers, and how they are decoded."""
        judge = self.examples.judge(self.tokenizer, self.context)
        decoding = {"decoding": self._line(judge)} if judge is not None and judge.decoding else {}
        return {**self.prepared.describe(), "metrics": self.examples.signatures(), **decoding}

    def decoding(self, split: str) -> str:
        return next((self._line(judge) for judge in self.judges(split) if judge.decoding), "")

    def _line(self, judge: "Judge") -> str:
        """Return the settings by which a judge generates answers, and the side on which prompts are cut, if right."""
        is_right = self.examples.template.truncation_side == "right"
        return f"{judge.decoding} truncation_side=right" if is_right else judge.decoding

    def training_batch(self, step: int, rank: int, world: int, micro: int, accumulate: int) -> Batch:
        own = share(self.batch_size, rank, world, micro, accumulate)
        tokens_BT, targets_BT = self.training_rows(step * self.batch_size + np.arange(self.batch_size))
        return Batch.part_of_step(tokens_BT, targets_BT, own)

    def training_rows(self, numbers_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for number in numbers_R.tolist():
            epoch, place = divmod(number, len(self._rows))
            rows.append(self._training_row(int(self._order(epoch)[place])))
        return self._padded(rows, self.context)

    def training_tokens(self) -> int:
        return int(self.prepared.lengths("train").sum())

    def token_counts(self, split: str) -> np.ndarray:
        return np.bincount(self.prepared.ids(split), minlength=self.tokenizer.size)

    def length(self, split: str) -> int:
        return self.context

    def sequences(self, split: str) -> int:
        number = len(self.prepared.lengths(split))
        limit = self.validation_tokens
        return number if limit is None else min(number, max(1, limit // self.context))

    def scoring_order(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        numbers = np.arange(self.sequences(split)) if sequences is None else np.asarray(sequences)
        lengths_N = self.prepared.lengths(split)[numbers].sum(1)
        return numbers[np.argsort(lengths_N, kind="stable")]  # rows of similar length together

    def batches(self, split: str, sequences: Sequence[int] | np.ndarray | None = None) -> Iterator[Batch]:
        numbers = self.scoring_order(split, sequences)
        ids, lengths_N2 = self.prepared.ids(split), self.prepared.lengths(split)
        ends_N, references = lengths_N2.sum(1).cumsum(), self.prepared.references(split)
        for first in range(0, len(numbers), self.batch_size):
            some = numbers[first : first + self.batch_size]
            rows = [self._after_shots(*self._sequence(ids, lengths_N2, ends_N, number)) for number in some]
            right = tuple(references[number] for number in some)
            padded = self._padded(rows, max(len(tokens) for tokens, _ in rows) - 1)
            yield Batch(torch.from_numpy(padded[0]), torch.from_numpy(padded[1]), references=right)

    def judges(self, split: str) -> "list[Judge]":
        from lmlab.data.judges import Decoded, Likelihood

        likelihood = Likelihood(self.prepared.answer_tokens_per_byte(split, self.sequences(split)))
        answers = self.examples.judge(self.tokenizer, self.context)
        if answers is None:
            return [likelihood]
        if isinstance(answers, Decoded):
            answers.shot_tokens = len(self._before)
        return [likelihood, answers] if self.examples.likelihood_first else [answers, likelihood]

    def for_evaluation(self, split: str, context: int | None) -> "ExamplesTask":
        self.prepared.counts(split)
        context = self.context if context is None else context
        _check_room(f"context={context}", context, self.examples.length)
        return ExamplesTask(self.examples, self.prepared, self.seed, self.batch_size, context)

    def with_decoding(self, split: str, settings: "Settings") -> "Task":
        from lmlab.data.judges import Decoded

        if not isinstance(self.examples.judge(self.tokenizer, self.context), Decoded):
            return super().with_decoding(split, settings)
        examples = self.examples.with_decoding(settings)
        _check_room(f"length={examples.length}", self.context, examples.length)
        return ExamplesTask(examples, self.prepared, self.seed, self.batch_size, self.context, shots=self.shots)

    def with_shots(self, split: str, shots: int) -> "ExamplesTask":
        if "train" not in self.prepared.splits:
            raise UserError(
                f"shots={shots}: {self.examples.name} has no training split to take examples from; name its files with "
                "data.paths={train: ..., validation: ...}"
            )
        task = ExamplesTask(self.examples, self.prepared, self.seed, self.batch_size, self.context, shots=shots)
        shortest = int(self.prepared.lengths(split)[:, 0].min())
        if task._longest_prompt < shortest:
            raise UserError(
                f"shots={shots}: these examples have {len(task._before):,} tokens; with answers of up to data.length="
                f"{self.examples.length} tokens, context={self.context} leaves {max(0, task._longest_prompt):,} for a "
                f"prompt, and the shortest of the {split} split has {shortest:,}"
            )
        return task

    def evaluation(self, split: str, readings: Sequence[str], reading: Reading) -> dict[str, Iterator[Batch]]:
        task = copy.copy(self)
        task.batch_size = reading.batch_size
        return {"answers": task.batches(split)}

    def prompts(self, split: str) -> list[str]:
        ids, lengths_N2 = self.prepared.ids(split), self.prepared.lengths(split)
        begins_N = lengths_N2.sum(1).cumsum() - lengths_N2.sum(1)
        decode = self.tokenizer.decode
        return [decode(ids[begin : begin + read]) for begin, read in zip(begins_N, lengths_N2[:, 0], strict=True)]

    def baselines(self, split: str) -> Baselines:
        from lmlab.data.judges.answers import AnswerMetric

        metrics = [each for each in self.examples.answer_metrics() if isinstance(each, AnswerMetric)]
        if not metrics:
            return {}
        number, is_extract = self.sequences(split), self.examples.decoding.get("extract", False)

        def compute() -> Baselines:
            prompts, references = self.prompts(split)[:number], self.prepared.references(split)[:number]
            inputs = [self.examples.template.input_of(prompt) for prompt in prompts]
            training = self.prepared.references("train") if "train" in self.prepared.splits else ()
            answers = (right[0] for right in training)
            extracts = (self.examples.extracts(self.tokenizer, prompt).texts for prompt in prompts if is_extract)
            return baselines.of_answers(metrics, answers, inputs, references, self._cut, extracts)

        if not all(isinstance(each, str) for each in self.examples.metrics):
            return compute()  # metrics of the user's own, which may change
        parts = [split, number, self.examples.template.options, self.examples.signatures(), self.examples.length]
        parts += [is_extract]
        return baselines.kept(self.prepared.folder, parts, compute)

    def training_texts(self) -> Iterator[str]:
        ids, lengths_N2, ends_N = self._training_tokens
        for number, end in enumerate(ends_N):
            yield self.tokenizer.decode(ids[end - lengths_N2[number].sum() : end])

    def _cut(self, text: str) -> str:
        """Return the beginning of a text that a generated answer may have, of ``length`` tokens."""
        return self.tokenizer.decode(self.tokenizer.encode_prompt(text)[: self.examples.length])

    def _shot_tokens(self) -> np.ndarray:
        """Return the tokens of the examples before a scored prompt, each with the separator that ends its answer.

        They are drawn by their numbers with a seed of their own, so all runs have the same.
        """
        if not self.shots:
            return np.empty(0, np.int64)
        ids, lengths_N2, ends_N = self._training_tokens
        if self.shots > len(ends_N):
            raise UserError(f"shots={self.shots}: the training split of {self.examples.name} has {len(ends_N):,}")
        numbers = np.random.Generator(np.random.Philox(key=_SHOTS)).permutation(len(ends_N))[: self.shots]
        texts = [ids[ends_N[number] - lengths_N2[number].sum() : ends_N[number]] for number in numbers]
        return np.concatenate([part for text in texts for part in (text, [self.tokenizer.separator])])

    def _after_shots(self, tokens: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of an example and whether each is of the answer, with the shots after the separator."""
        if not self.shots:
            return tokens, scored
        before = np.zeros(len(self._before), bool)
        return (
            np.concatenate([tokens[:1], self._before, tokens[1:]]),
            np.concatenate([scored[:1], before, scored[1:]]),
        )

    @property
    def _longest_prompt(self) -> int:
        return self.context - self.examples.length - 1 - len(self._before)

    @cached_property
    def _training_tokens(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, lengths and ends of the training split, read once."""
        lengths_N2 = self.prepared.lengths("train")
        return np.asarray(self.prepared.ids("train")), lengths_N2, lengths_N2.sum(1).cumsum()

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """Return the numbers of the examples in each row of training."""
        lengths_N2 = self._training_tokens[1]
        numbers = np.flatnonzero(lengths_N2[:, 1] <= self.examples.length)
        if not len(numbers):
            raise UserError(
                f"data.length={self.examples.length}: every answer of the training split is longer; the shortest has "
                f"{int(lengths_N2[:, 1].min())} tokens"
            )
        np.random.Generator(np.random.Philox(key=self.seed)).shuffle(numbers)
        sizes_N = np.minimum(lengths_N2[numbers, 0], self._longest_prompt) + lengths_N2[numbers, 1] + 1
        begins, filled = [0], 0
        for place, size in enumerate(sizes_N.tolist()):
            if filled + size > self.context:
                begins.append(place)
                filled = 0
            filled += size
        return np.split(numbers, begins[1:])

    def _order(self, epoch: int) -> np.ndarray:
        """Return the order of the rows in a pass."""
        if self._newest_order is None or self._newest_order[0] != epoch:
            random = np.random.Generator(np.random.Philox(key=self.seed, counter=epoch + 1))
            self._newest_order = epoch, random.permutation(len(self._rows))
        return self._newest_order[1]

    def _training_row(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens [1 + n] of a row's examples and whether each is a target."""
        sequences = [self._sequence(*self._training_tokens, number) for number in self._rows[row]]
        tokens = [sequences[0][0][:1], *(tokens[1:] for tokens, _ in sequences)]
        scored = [sequences[0][1][:1], *(scored[1:] for _, scored in sequences)]
        scored_T = np.concatenate(scored)
        return np.concatenate(tokens), scored_T | (self.examples.loss == "all")

    def _sequence(
        self, ids: np.ndarray, lengths_N2: np.ndarray, ends_N: np.ndarray, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return separator, prompt, answer and separator of an example, and which of these tokens are of the answer."""
        prompt, answer = map(int, lengths_N2[number])
        first = int(ends_N[number]) - answer
        read, length = min(prompt, self._longest_prompt), min(answer, self.examples.length)
        separator = np.array([self.tokenizer.separator])
        end = separator[: length == answer]  # an answer that is cut does not end
        read_N = self.examples.template.truncated(ids[first - prompt : first], read)
        tokens = np.concatenate([separator, read_N, ids[first : first + length], end])
        places = np.arange(len(tokens))
        return tokens, (places > read) & (places <= read + length + (not self.prepared.continues))

    def _padded(self, rows: Sequence[tuple[np.ndarray, np.ndarray]], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets [R, length] of rows of tokens and which are targets, padded at the end."""
        tokens_RT = np.full((len(rows), length + 1), self.tokenizer.separator, np.int64)
        targets_RT = np.full((len(rows), length + 1), NOT_SCORED, np.int64)
        for number, (tokens, scored) in enumerate(rows):
            tokens_RT[number, : len(tokens)] = tokens
            targets_RT[number, : len(tokens)] = np.where(scored, tokens, NOT_SCORED)
        return tokens_RT[:, :-1], targets_RT[:, 1:]

    def notes_of(self, split: str) -> tuple[str, ...]:
        prompt_N, answer_N = self.prepared.lengths(split).T
        cut, long = int((prompt_N > self._longest_prompt).sum()), int((answer_N > self.examples.length).sum())
        notes = []
        number, problem = self.prepared.skipped(split)
        if number:
            records = "record is" if number == 1 else "records are"
            notes.append(f"{self.examples.name}, {split}: {number:,} malformed {records} left out ({problem})")
        if cut:
            part = "last" if self.examples.template.truncation_side == "left" else "first"
            notes.append(
                f"{self.examples.name}, {split}: of {cut:,} of {len(prompt_N):,} prompts only the {part} "
                f"{self._longest_prompt:,} tokens are read (a context of {self.context})"
            )
        if long:
            what = "left out of training" if split == "train" else "scored by the loss of their beginning"
            notes.append(
                f"{self.examples.name}, {split}: {long:,} of {len(answer_N):,} answers have more than "
                f"data.length={self.examples.length} tokens; they are {what}"
            )
        if unspelled := self.prepared.unspelled(split):
            notes.append(
                f"{self.examples.name}, {split}: {unspelled:,} of {len(answer_N):,} right answers cannot be written "
                "with the vocabulary: parts of them are unknown or changed (bpe and byte can write any)"
            )
        return tuple(notes)


def _check_room(option: str, context: int, length: int) -> None:
    """Refuse, in the name of an option, a context without room for a prompt before an answer."""
    if context < length + 2:
        raise UserError(
            f"{option}: a context of {context} tokens leaves no room for a prompt before answers of up to {length} "
            f"tokens; expected a context of at least {length + 2}, or answers of at most {max(1, context - 2)}"
        )


def _check_splits(splits: Sequence[str]) -> None:
    """Refuse examples that cannot be trained on for lack of a split. Raises ``UserError``."""
    for split, name in (("train", "training"), ("validation", "validation")):
        if split not in splits:
            raise UserError(
                f"data.paths.{split} has no value: expected the files of the {name} split, as in "
                "'data.paths={train: train.jsonl, validation: dev.jsonl}'"
            )
