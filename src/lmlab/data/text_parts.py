"""Parts of a text that comes in chunks."""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Readable(Protocol):
    """A text that can be read from any character on."""

    @property
    def characters(self) -> int: ...

    def read(self, first: int = 0, end: int | None = None) -> Iterator[str]: ...


def part_of(chunks: Iterable[str], first: int, end: int) -> Iterator[str]:
    """Yield the characters from ``first`` to ``end`` of a text in chunks, and read no more of it."""
    place = 0
    for text in chunks:
        if chunk := text[max(0, first - place) : max(0, end - place)]:
            yield chunk
        place += len(text)
        if place >= end:
            return


def line_end(text: Readable, index: int) -> int:
    """Return the index after the line that ``index`` lies in, or ``index`` if the rest is one line."""
    if index == 0:
        return 0
    place = index - 1
    for chunk in text.read(place):
        if (end := chunk.find("\n")) >= 0:
            return place + end + 1 if place + end + 1 < text.characters else index
        place += len(chunk)
    return index
