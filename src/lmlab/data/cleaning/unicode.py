"""Unicode normalisation of a text that comes in chunks (Unicode Standard Annex 15)."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

Form = Literal["NFC", "NFKC"]

_CATEGORIES = {"Lu", "Ll", "Nd", "Zs", "Cc", "Pd", "Po", "Ps", "Pe"}
"""Categories of characters that neither combine with the one before nor are reordered with it."""


def normalised(chunks: Iterable[str], form: Form) -> Iterator[str]:
    """Yield the normalised text in chunks; their concatenation does not depend on the division of the input.

    A chunk is held back from its last character that cannot combine with the one before. Memory is bounded by the
    longest stretch without a space, a punctuation mark, a digit, a Han character or a letter with case.
    """
    held: list[str] = []
    for chunk in chunks:
        if cut := _last_boundary(chunk):
            yield unicodedata.normalize(form, "".join([*held, chunk[:cut]]))
            held = [chunk[cut:]]
        elif chunk and is_boundary(chunk[0]) and held:
            yield unicodedata.normalize(form, "".join(held))
            held = [chunk]
        else:
            held.append(chunk)
    if rest := "".join(held):
        yield unicodedata.normalize(form, rest)


def _last_boundary(text: str) -> int:
    """Return the index of the last boundary within ``text``, or 0."""
    return next((index for index in range(len(text) - 1, 0, -1) if is_boundary(text[index])), 0)


def is_boundary(character: str) -> bool:
    """Return whether normalising the text before ``character`` and from it on apart gives the same as together."""
    return character.isascii() or "\u4e00" <= character <= "\u9fff" or unicodedata.category(character) in _CATEGORIES
