"""The base class of corpora: named, licensed text in splits."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab.data.dataset import Dataset, Opening
from lmlab.errors import UserError
from lmlab.progress import ProgressBar

if TYPE_CHECKING:
    from lmlab.data.tasks.text import TextTask
    from lmlab.data.tokenizers import Tokenizer

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Published:
    """Counts that the literature states for a corpus.

    Attributes:
        counts: the number of units in each split.
        unit: the unit that is counted.
        tokenizer: the class of the tokenizer with which the counts hold; ``None``: any.
        types: the size of the vocabulary of the training split; ``None``: not stated.
        within: the largest difference from ``counts`` that the split rule permits.
    """

    counts: Mapping[str, int]
    unit: Literal["tokens", "bytes", "documents"] = "tokens"
    tokenizer: str | None = None
    types: int | None = None
    within: int = 0


class Corpus(Dataset):
    """Text in splits; each split is a sequence of documents in a fixed order.

    Attributes:
        name: its name in runs and cached shards.
        licence: the licence as its publisher states it.
        splits: the splits that it has, some of :data:`SPLITS`.
        notes: messages to the user about the source files.
        download: false: :meth:`find` refuses to download anything.
        progress: show progress bars where reading its text takes long.
        published: counts that :meth:`verify` compares with those of the prepared corpus.

    Args:
        stream: train on the first shards while the rest is prepared (see :mod:`lmlab.data.streamed_order`).
    """

    required = ("name", "licence")
    has_documents = True
    name: str
    licence: str
    splits: tuple[str, ...] = SPLITS
    notes: tuple[str, ...] = ()
    download: bool = True
    progress: bool = False
    published: tuple[Published, ...] = ()
    stream: bool = False

    def __init__(self, stream: bool = False) -> None:
        self.stream = stream

    def open(self, opening: Opening) -> "TextTask":
        from lmlab.data.tasks.text import TextTask

        return TextTask.of(self, opening)

    def texts(self, split: str, opening: Opening) -> Iterator[Iterable[str]]:
        self._find(opening)
        yield from self.chunks(split)

    def text_fingerprint(self, opening: Opening) -> str:
        self._find(opening)
        return self.fingerprint()

    def _find(self, opening: Opening) -> None:
        self.download = opening.download
        self.find(opening.corpora, opening.cache, opening.progress)

    def check(self) -> None:
        """Refuse options that change nothing for the files that are there. Raises ``UserError``."""

    @abstractmethod
    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        """Find, or download, the source files and check them. To be called before anything else.

        Args:
            corpora: the user's folder of corpora, looked in before anything is downloaded.
            cache: the folder for downloads.
            progress: show a progress bar where this takes long.

        Raises:
            UserError: a file is missing, empty, corrupt or not UTF-8.
        """

    @abstractmethod
    def documents(self, split: str) -> Iterator[str]:
        """Yield the documents of one of :attr:`splits`, none of them empty."""

    def chunks(self, split: str) -> Iterator[Iterator[str]]:
        """Yield each document as chunks of its text, cut anywhere; override it for long documents."""
        return (iter((document,)) for document in self.documents(split))

    def checksum(self, cache: Path) -> str | None:
        """Return a checksum of the user's own files, independent of their location; ``None`` if it reads none.

        Args:
            cache: the folder in which the checksums of unchanged files are kept.

        Raises:
            UserError: as for :meth:`find`.
        """
        return None

    def check_same_text(self, opening: Opening) -> None:
        """Refuse the user's own files if they have changed since the run started. Raises ``UserError``."""
        recorded = opening.checksum
        if recorded is not None and (now := self.checksum(opening.cache)) != recorded:
            raise UserError(f"data.paths: the text has changed (SHA-256 {recorded[:12]} then, {str(now)[:12]} now)")

    def provenance(self) -> dict[str, Any]:
        """Return the source of the text as plain JSON values, for the manifest; empty if there is nothing to record."""
        return {}

    def cleaned(self) -> dict[str, Any]:
        """Return the options of cleaning and counts by split, for the manifest; empty if the text is as it was."""
        return {}

    def verify(self, tokenizer: "Tokenizer", splits: Mapping[str, Mapping[str, int]], fitted: bool) -> None:
        """Compare the prepared corpus with the published counts.

        Args:
            tokenizer: the tokenizer that it was prepared with.
            splits: counts of ``tokens``, ``bytes`` and ``documents`` by split.
            fitted: the tokenizer was fitted to the training split of this corpus.

        Raises:
            UserError: a count differs.
        """
        for published in self.published:
            if published.tokenizer not in (None, type(tokenizer).__name__):
                continue
            for split, number in published.counts.items():
                if abs(splits[split][published.unit] - number) > published.within:
                    self._refuse(f"the {split} split has {splits[split][published.unit]:,} {published.unit}", number)
            limited = tokenizer.state().get("size") is not None
            if published.types is not None and fitted and not limited and tokenizer.size != published.types:
                self._refuse(f"the vocabulary has {tokenizer.size:,} types", published.types)

    def _refuse(self, counted: str, published: int) -> None:
        raise UserError(
            f"data={self.name}: {counted}, the published number is {published:,}: results would not be comparable "
            "with others; data=text reads text without this check"
        )

    def size(self, split: str) -> int | None:
        """Return about how many bytes of text a split has; ``None`` if that is not known without reading it."""
        return None

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of every document of every split, in order."""
        digest = hashlib.sha256()
        with ProgressBar(f"Checking {self.name}", None, self.progress) as bar:
            for split in self.splits:
                digest.update(f"split {split}\n".encode())
                for counted, hashed in zip(self.chunks(split), self.chunks(split), strict=True):
                    digest.update(f"document {sum(len(chunk.encode()) for chunk in counted)}\n".encode())
                    for chunk in hashed:
                        content = chunk.encode()
                        digest.update(content)
                        bar.advance(len(content))
        return digest.hexdigest()
