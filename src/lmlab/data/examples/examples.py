"""The base class of data sets of examples, each a prompt with right answers."""

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab.data.dataset import Dataset, Opening
from lmlab.data.examples.metrics import LIKELIHOOD, answer_metrics, check_names
from lmlab.data.examples.template import Example, Template
from lmlab.errors import UserError
from lmlab.models import decoding_options
from lmlab.processes import signals
from lmlab.runs.files import dumps

if TYPE_CHECKING:
    from lmlab.data.extracts import Extracts
    from lmlab.data.judges import Judge
    from lmlab.data.judges.answers import AnswerMetric, TextsMetric
    from lmlab.data.tasks.examples import ExamplesTask
    from lmlab.data.tokenizers import Tokenizer


class Examples(Dataset):
    """Records in splits, a template that makes a prompt and answers of each, and the metrics of generated answers.

    A data set of your own defines ``name``, ``licence`` and :meth:`records`.

    Args:
        template: the options of :class:`Template` by name: ``instruction``, ``input``, ``answer``, ``continues``.
        metrics: metrics of generated answers: names of :data:`lmlab.data.examples.metrics.METRICS`, or metrics of your
            own; the first is the primary one. ``likelihood`` in the first place makes bits per byte of the right
            answers the primary metric; alone, no answers are generated.
        length: most tokens of a generated answer.
        loss: positions that are trained on: ``answer``, or ``all`` for the prompt as well.
        decoding: settings by which answers are generated, by the names of the options of ``lmlab generate``; by default
            it is greedy.

    Attributes:
        name: its name in runs.
        licence: the licence as its publisher states it.
        splits: the splits that it has, the training split first.
        scored_splits: splits that a validation scores.
        skipped: for each split the number of records that were left out the last time that it was read, and a message
            about the first.
        notes: messages to the user about the source files.

    Raises:
        UserError: an option has a value that it cannot have.
    """

    required = ("name", "licence")
    licence: str
    splits: tuple[str, ...] = ("train", "validation")
    scored_splits: tuple[str, ...] = ("validation",)
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        template: Mapping[str, Any],
        metrics: list[Any],
        length: int,
        loss: Literal["answer", "all"] = "answer",
        decoding: Mapping[str, Any] | None = None,
    ) -> None:
        if length < 1:
            raise UserError(f"data.length={length}: expected at least 1 token")
        self.template = Template.of(template)
        self.likelihood_first = metrics[:1] == [LIKELIHOOD]
        self.metrics = tuple(metrics[1:] if self.likelihood_first else metrics)
        check_names(self.metrics)
        self.length = length
        self.loss = loss
        self.decoding = decoding_options.checked(decoding or {}, "data.decoding.")
        self.skipped: dict[str, tuple[int, str]] = {}

    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        """Find the source files and check them; by default there are none.

        Args:
            corpora: the user's folder of corpora.
            cache: the folder in which the checksums of unchanged files are kept.
            progress: show a progress bar where this takes long.

        Raises:
            UserError: a file is missing or not text.
        """

    def use_as_one(self) -> None:
        """Do not divide source files without splits: they are to be scored as a whole."""

    def checksum(self, cache: Path) -> str | None:
        """Return a checksum of the user's own files, independent of their location; ``None`` if it reads none."""
        return None

    @abstractmethod
    def records(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a split: for each field a text, or a list of texts that are right answers."""

    def examples(self, split: str) -> Iterator[Example]:
        """Yield the examples of a split. Raises ``UserError`` for a template that does not fit the records."""
        for number, record in enumerate(self.records(split)):
            if number == 0:
                self.template.check(record)
            signals.check()
            yield self.template(record)

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of all examples; of what they depend on, if that takes less time."""
        digest = hashlib.sha256()
        for split in self.splits:
            digest.update(f"\0{split}\0".encode())
            for example in self.examples(split):
                digest.update(dumps(example).encode())
        return digest.hexdigest()

    def answer_metrics(self) -> "list[AnswerMetric | TextsMetric]":
        """Return new metrics of generated answers; the first is the primary one. Raises ``UserError``."""
        return answer_metrics(self.metrics)

    def judge(self, tokenizer: "Tokenizer", context: int) -> "Judge | None":
        """Return a new judge of the answers to prompts; by default it decodes answers and computes the metrics.

        ``None`` if there are no metrics of answers.

        Args:
            context: limit of tokens that the model sees.
        """
        from lmlab.data.judges.decoded import Decoded

        metrics = self.answer_metrics()
        extracts = partial(self.extracts, tokenizer)
        return Decoded(tokenizer, metrics, context, self.length, self.decoding, extracts) if metrics else None

    def extracts(self, tokenizer: "Tokenizer", prompt: str) -> "Extracts":
        """Return the extracts of a prompt's input, at most ``length`` tokens each."""
        from lmlab.data.extracts import Extracts

        prefix = " " if self.template.continues else ""
        return Extracts(tokenizer, self.template.input_of(prompt), tokenizer.separator, self.length, prefix)

    def with_decoding(self, settings: decoding_options.Settings) -> "Examples":
        """Return a copy with other settings of decoding, ``length`` among them, in place of its own.

        Raises:
            UserError: a setting is out of its range, or cannot be combined with another.
        """
        other = copy.copy(self)
        other.length = settings.get("length", self.length)
        other.decoding = decoding_options.replaced(self.decoding, settings)
        other.decoding.pop("length", None)
        decoding_options.decoding_of(other.decoding, other.length)
        return other

    def signatures(self) -> dict[str, str]:
        """Return the rules by which each metric is computed, by name."""
        return {each.metric.name: each.signature for each in self.answer_metrics()}

    def texts(self, split: str, opening: Opening) -> Iterator[Iterable[str]]:
        self.find(opening.corpora, opening.cache, opening.progress)
        return ((example.prompt, example.answer, "\n") for example in self.examples(split))

    def text_fingerprint(self, opening: Opening) -> str:
        self.find(opening.corpora, opening.cache, opening.progress)
        return self.fingerprint()

    def open(self, opening: Opening) -> "ExamplesTask":
        from lmlab.data.tasks.examples import ExamplesTask

        return ExamplesTask.of(self, opening)
