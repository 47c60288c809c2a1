"""The base class of what ``data=`` names: texts, generators, examples; and what it needs to become a task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from lmlab.data.tasks.task import Task
    from lmlab.data.tokenizers import Tokenizer

NOT_SCORED = -1
"""The target of a position at which nothing is scored."""


@dataclass(frozen=True)
class Prepared:
    """Tokens that a run has begun with.

    Attributes:
        fingerprint: SHA-256, in hexadecimal.
        caches: folders in which they may lie.
    """

    fingerprint: str
    caches: tuple[Path, ...]


@dataclass(frozen=True)
class Opening:
    """What a run offers to its data.

    Attributes:
        tokenizer: of the run, fitted or not.
        seed: of the order, or the draws, of training.
        batch_size: sequences in an optimizer step, over all ranks and micro-batches.
        context: tokens in a sequence of training.
        carry_state: each row goes on in the next batch where it stopped.
        validation_tokens: score only so many tokens of the validation split; ``None``: all.
        cache: folder of what is prepared once.
        corpora: the user's folder of corpora, looked in before anything is downloaded.
        progress: show what takes long.
        download: false: refuse to download anything.
        began: a run has begun with these data, maybe by an earlier version.
        prepared: the tokens that it began with, where it recorded them.
        checksum: of the user's own files, where it recorded one.
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


class Dataset(ABC):
    """The kind that ``data=`` names. A constructor takes the options of the section ``data``.

    Attributes:
        name: how runs and cached shards call it.
        required: attributes that a subclass has to define.
    """

    name: str
    required: ClassVar[tuple[str, ...]] = ("name",)

    @abstractmethod
    def open(self, opening: Opening) -> "Task":
        """Return the task that a run is trained on.

        Raises:
            UserError: the data are missing or damaged, or do not suit the tokenizer or the batch.
        """
