"""The base class of corpora: named, licensed text in splits."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.data.dataset import Dataset, Opening

if TYPE_CHECKING:
    from lmlab.data.tasks.text import TextTask

SPLITS = ("train", "validation", "test")


class Corpus(Dataset):
    """Text in splits; each split is a sequence of documents in a fixed order.

    Attributes:
        name: its name in runs and cached shards.
        licence: the licence as its publisher states it.
        splits: the splits that it has, some of :data:`SPLITS`.
        notes: messages to the user about the source files.
        download: false: :meth:`find` refuses to download anything.
    """

    required = ("name", "licence")
    name: str
    licence: str
    splits: tuple[str, ...] = SPLITS
    notes: tuple[str, ...] = ()
    download: bool = True

    def open(self, opening: Opening) -> "TextTask":
        from lmlab.data.tasks.text import TextTask

        return TextTask.of(self, opening)

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

    def size(self, split: str) -> int | None:
        """Return about how many bytes of text a split has; ``None`` if that is not known without reading it."""
        return None

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of every document of every split, in order."""
        digest = hashlib.sha256()
        for split in self.splits:
            digest.update(f"split {split}\n".encode())
            for counted, hashed in zip(self.chunks(split), self.chunks(split), strict=True):
                digest.update(f"document {sum(len(chunk.encode()) for chunk in counted)}\n".encode())
                for chunk in hashed:
                    digest.update(chunk.encode())
        return digest.hexdigest()
