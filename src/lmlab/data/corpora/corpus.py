"""What a corpus is: named, licensed text in splits."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from lmlab.errors import UserError

SPLITS = ("train", "validation", "test")


class Corpus(ABC):
    """Text in splits; each split is a sequence of documents in a fixed order.

    Attributes:
        name: how runs and cached shards call it.
        licence: the licence as its publisher states it.
        splits: the splits that it has, some of :data:`SPLITS`.
    """

    name: str
    licence: str
    splits: tuple[str, ...] = SPLITS

    @abstractmethod
    def find(self, corpora: Path | None, cache: Path, progress: bool = False) -> None:
        """Find, or download, the source files and check them. To be called before anything else.

        Args:
            corpora: the user's folder of corpora, looked in before anything is downloaded.
            cache: the folder for what is downloaded.
            progress: show a progress bar where this takes long.

        Raises:
            UserError: a file is missing, empty, corrupt or not UTF-8.
        """

    @abstractmethod
    def documents(self, split: str) -> Iterator[str]:
        """Yield the documents of one of :attr:`splits`, none of them empty."""

    def fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of every document of every split, in order."""
        digest = hashlib.sha256()
        for split in self.splits:
            digest.update(f"split {split}\n".encode())
            for document in self.documents(split):
                content = document.encode()
                digest.update(f"document {len(content)}\n".encode())
                digest.update(content)
        return digest.hexdigest()


def read_utf8(path: Path, option: str) -> str:
    """Return the text of a file byte for byte, its line ends as they are.

    Raises:
        UserError: it cannot be read or is not UTF-8; the message names ``option``, the file and the offset in bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be read ({error.strerror})") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{content[error.start]:02x} at offset {error.start} ({error.reason})"
        raise UserError(f"{option}: {path} is not UTF-8: {wrong}; convert it to UTF-8 first") from error
