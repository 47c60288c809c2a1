"""Facts about the documents of a split: their number, lengths, duplicates, and some of them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmlab.data.windows import evenly_spaced
from lmlab.processes import signals

SHOWN = 600
"""Characters of a document that are kept to be shown."""


@dataclass
class Documents:
    """Facts about the documents, or examples, of a split.

    Attributes:
        lengths: characters of each document.
        size: of all of them as UTF-8, in bytes.
        hashes: the first 8 bytes of the SHA-256 of each different document.
        duplicates: number of documents that equal an earlier one of the split.
        samples: beginnings of some documents.
    """

    lengths: np.ndarray
    size: int = 0
    hashes: set[bytes] = field(default_factory=set)
    duplicates: int = 0
    samples: Sequence[str] = ()

    def in_common(self, other: "Documents") -> int:
        """Return how many different documents both splits have."""
        return len(self.hashes & other.hashes)


def inspect_documents(
    texts: Callable[[], Iterator[Iterable[str]]], samples: int = 0, advance: Callable[[int], None] = lambda _: None
) -> Documents:
    """Read the documents of a split, twice if some are to be shown, and return facts about them.

    Args:
        texts: returns the documents, each in chunks.
        samples: number of documents to keep the beginning of, evenly spaced.
        advance: called with the size in bytes of what was read.
    """
    lengths: list[int] = []
    facts = Documents(np.empty(0, np.int64))
    for chunks in texts():
        digest, characters = hashlib.sha256(), 0
        for chunk in chunks:
            signals.check()
            content = chunk.encode()
            digest.update(content)
            characters += len(chunk)
            facts.size += len(content)
            advance(len(content))
        lengths.append(characters)
        key = digest.digest()[:8]
        facts.duplicates += key in facts.hashes
        facts.hashes.add(key)
    facts.lengths = np.array(lengths, np.int64)
    if samples:
        facts.samples = _evenly_spaced(texts(), len(lengths), samples)
    return facts


def _evenly_spaced(documents: Iterator[Iterable[str]], number: int, samples: int) -> list[str]:
    """Return the beginnings of some documents."""
    places = set(evenly_spaced(samples, number).tolist())
    beginnings = []
    for place, chunks in enumerate(documents):
        if place in places:
            beginnings.append(_beginning(chunks))
            if len(beginnings) == len(places):
                break
        else:
            for _ in chunks:  # the documents share a reader
                signals.check()
    return beginnings


def _beginning(chunks: Iterable[str]) -> str:
    text = ""
    for chunk in chunks:
        if len(text) <= SHOWN:
            text += chunk[: SHOWN + 1]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
