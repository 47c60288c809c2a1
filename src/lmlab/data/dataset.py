"""The base class of the options of ``data=``: texts, generators, examples; and the arguments to open one as a task."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lmlab.errors import UserError

if TYPE_CHECKING:
    from lmlab.data.tasks.task import Task
    from lmlab.data.tokenizers import Tokenizer

NOT_SCORED = -1
"""The target of a position at which nothing is scored."""


@dataclass(frozen=True)
class Prepared:
    """Tokens that a run started with.

    Attributes:
        fingerprint: SHA-256, in hexadecimal.
        caches: folders that may hold them.
    """

    fingerprint: str
    caches: tuple[Path, ...]


@dataclass(frozen=True)
class Opening:
    """A run's settings for opening its data.

    Attributes:
        tokenizer: tokenizer of the run, fitted or not.
        seed: seed of the order, or the draws, of training.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: tokens in a sequence of training.
        carry_state: each row continues in the next batch.
        validation_tokens: score only this many tokens of the validation split; ``None``: all.
        cache: folder for prepared data.
        corpora: the user's folder of corpora, looked in before anything is downloaded.
        progress: show progress bars.
        download: false: refuse to download anything.
        began: a run has started with these data, possibly by an earlier version.
        prepared: the tokens that the run started with, if it recorded them.
        checksum: checksum of the user's own files, if the run recorded one.
        trains: false: the data are only scored, and need no training split.
        separate: read every document of a text by itself.
    """

    tokenizer: "Tokenizer"
    seed: int
    batch_size: int
    context: int
    carry_state: bool
    validation_tokens: int | None
    cache: Path
    corpora: Path | None = None
    progress: bool = False
    download: bool = True
    began: bool = False
    prepared: Prepared | None = None
    checksum: str | None = None
    trains: bool = True
    separate: bool = False


class Dataset(ABC):
    """The base class of the options of ``data=``. A constructor takes the options of the section ``data``.

    Attributes:
        name: its name in runs and cached shards.
        required: attributes that a subclass has to define.
        has_documents: it is text in documents, which can be read one by one (``batch.documents=separate``).
    """

    name: str
    required: ClassVar[tuple[str, ...]] = ("name",)
    has_documents: bool = False

    @abstractmethod
    def open(self, opening: Opening) -> "Task":
        """Return the task that a run is trained on.

        Raises:
            UserError: the data are missing or damaged, or do not fit the tokenizer or the batch.
        """

    def texts(self, split: str, opening: Opening) -> Iterator[Iterable[str]]:
        """Yield the documents or examples of a split, each in chunks of its text, cut anywhere.

        Raises:
            UserError: the data are no text, or are missing or damaged.
        """
        raise UserError(f"data={self.name}: has symbols of its own and no text")

    def text_fingerprint(self, opening: Opening) -> str:
        """Return the SHA-256, in hexadecimal, of the texts of the training split, or of all that they depend on.

        Raises:
            UserError: as for :meth:`texts`.
        """
        digest = hashlib.sha256()
        for document in self.texts("train", opening):
            digest.update("".join(document).encode() + b"\0")
        return digest.hexdigest()
