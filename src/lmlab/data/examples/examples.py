"""The base class of data sets of examples, each a prompt with right answers."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.data.dataset import Dataset, Opening
from lmlab.data.examples.template import Template

if TYPE_CHECKING:
    from lmlab.data.judges.answers import AnswerMetric
    from lmlab.data.tasks.examples import ExamplesTask


class Examples(Dataset):
    """Records in splits, a template that makes a prompt and answers of each, and the metrics of generated answers.

    Args:
        template: the texts of :class:`Template` by name: ``instruction``, ``input``, ``answer``.
        length: most tokens of a generated answer.
        loss: positions that are trained on: ``answer``, or ``all`` for the prompt as well.

    Attributes:
        name: its name in runs.
        licence: the licence as its publisher states it.
        splits: the splits that it has, the training split first.
        scored_splits: splits that a validation scores.
    """

    required = ("name", "licence")
    licence: str
    splits: tuple[str, ...] = ("train", "validation")
    scored_splits: tuple[str, ...] = ("validation",)

    def __init__(self, template: Mapping[str, str], length: int, loss: str = "answer") -> None:
        self.template = Template.of(template)
        self.length = length
        self.loss = loss

    @abstractmethod
    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        """Find, or download, the source files and check them (see :meth:`lmlab.data.corpora.Corpus.find`)."""

    @abstractmethod
    def records(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a split: for each field a text, or a list of texts that are right answers."""

    @abstractmethod
    def answer_metrics(self) -> "list[AnswerMetric]":
        """Return the metrics of generated answers; the first is the primary one."""

    def texts(self, split: str, opening: Opening) -> Iterator[Iterable[str]]:
        from lmlab.data.examples.prepared import made

        self.find(opening.corpora, opening.cache, opening.progress)
        return ((example.prompt, example.references[0], "\n") for example in made(self, split))

    def open(self, opening: Opening) -> "ExamplesTask":
        from lmlab.data.tasks.examples import ExamplesTask

        return ExamplesTask.of(self, opening)
