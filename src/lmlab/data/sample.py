"""An even sample of a text: the memory for fitting a tokenizer grows with the text that it is fitted to."""

import re
from collections.abc import Iterable, Sequence

_MOST = 1 << 26
"""Bytes of a sample at most."""
_MOST_DISTINCT = 5_000_000
"""Characters in the distinct words of a sample at most; the library that finds merges takes about 80 bytes for each."""
_WORD = re.compile(r" ?[^\W\d_]+| ?\d+|\s+| ?(?:[^\w\s]|_)+")


def size_of(text: str) -> int:
    """Return the size of a text as UTF-8, in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def evenly_sampled(texts: Iterable[str], most: int = _MOST, most_distinct: int = _MOST_DISTINCT) -> list[str]:
    """Return all texts, or every second, fourth, eighth, ... of them so that they are within both limits.

    Args:
        texts: pieces of similar length.
        most: bytes.
        most_distinct: characters in distinct words.
    """
    sample: list[str] = []
    size, step = 0, 1
    for number, text in enumerate(texts):
        if number % step:
            continue
        sample.append(text)
        size += size_of(text)
        while size > most and len(sample) > 1:
            sample, step = sample[::2], 2 * step
            size = sum(map(size_of, sample))
    while size > most_distinct and len(sample) > 1 and _exceeds(sample, most_distinct):
        sample = sample[::2]
        size = sum(map(size_of, sample))
    return sample


def _exceeds(texts: Sequence[str], most: int) -> bool:
    """Return whether the distinct words of texts have more than ``most`` characters."""
    words: set[str] = set()
    characters = 0
    for text in texts:
        new = set(_WORD.findall(text)) - words
        characters += sum(map(len, new))
        if characters > most:
            return True
        words |= new
    return False
