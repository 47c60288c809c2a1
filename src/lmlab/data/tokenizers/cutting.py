"""Cut long documents where it does not change their tokens, so that memory is bounded and time grows in proportion."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice

import numpy as np

from lmlab.data.tokenizers.threads import in_threads

PIECE = 1 << 14  # characters after which a document is cut, so that all cores have something to do
LONGEST_PIECE = 1 << 17  # characters after which it is cut even where that divides a segment
_BATCH = 1 << 19  # characters that are encoded at a time

# GPT-2's segmentation is the same with a cut here as without: white space before a word is a segment of its own but for
# its last character, and that one begins a segment, as a line feed by itself or as a space together with the word.
BEFORE_WORD = re.compile(r"[ \n](?=\w)")
BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")
"""The space between two letters, where all usual segmentations divide a text."""


def pieces(chunks: Iterable[str], boundary: re.Pattern[str], longest: int | None = None) -> Iterator[str]:
    """Yield the pieces of a document, which comes in chunks cut anywhere; they do not depend on the chunks.

    Args:
        boundary: a piece may end before a match of it.
        longest: characters after which a piece ends anywhere; ``None``: ``LONGEST_PIECE``.
    """
    longest = LONGEST_PIECE if longest is None else longest
    rest = ""
    for chunk in chunks:
        rest += chunk
        begin = 0
        while (end := _end(rest, begin, boundary, longest)) is not None:
            yield rest[begin:end]
            begin = end
        rest = rest[begin:]
    if rest:
        yield rest


def _end(text: str, begin: int, boundary: re.Pattern[str], longest: int) -> int | None:
    """Return where the piece that begins at ``begin`` ends; ``None``: not in the text so far."""
    if match := boundary.search(text, begin + PIECE, begin + longest + 1):
        return match.start()
    return begin + longest if begin + longest < len(text) else None


_Pieces = Callable[[list[str]], Iterable[str]]
"""From the chunks of a document to its pieces."""
_Encode = Callable[[list[str]], Iterable[Sequence[int] | np.ndarray]]
"""From pieces to the ids of each."""


def encode_all(documents: Iterable[str], pieces: _Pieces, encode: _Encode, threads: int = 0) -> Iterator[np.ndarray]:
    """Yield the ids [N] int32 of each document, in order; several are encoded at a time.

    Args:
        threads: number of threads that encode while the caller reads on; 0: the caller encodes.
    """
    work = partial(encoded, pieces=pieces, encode=encode)
    batches = _batches(documents)
    return chain.from_iterable(in_threads(work, batches, threads) if threads else map(work, batches))


def encoded(documents: Iterable[str], pieces: _Pieces, encode: _Encode) -> list[np.ndarray]:
    """Return the ids [N] int32 of each document."""
    pieces_of = [list(pieces([document])) for document in documents]
    parts = (np.array(ids, np.int32) for ids in encode([piece for group in pieces_of for piece in group]))
    return [np.concatenate([np.empty(0, np.int32), *islice(parts, len(group))]) for group in pieces_of]


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= _BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
