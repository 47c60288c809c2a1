"""Near duplicates: documents whose sets of word 5-grams overlap, found by MinHash and locality-sensitive hashing.

The similarity of two documents is the Jaccard similarity of their sets of 5 consecutive words (Broder 1997, "On the
resemblance and containment of documents"; Lee et al. 2022, "Deduplicating training data makes language models better").
Case and punctuation do not count; a character of a script without spaces is a word. The share of equal values among 128
minimal hashes estimates it, with a standard deviation of at most 0.044. Documents are compared only if a band of these
values is equal, as for at least 95 % of the pairs at the threshold.

Dimension legend: G word sequences, H minimal hashes of a document, N documents.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lmlab.errors import UserError
from lmlab.processes import signals

HASHES = 128
"""Minimal hashes of a document, of 4 bytes each."""
_WORDS = 5
_SEED = 1
_COMPARED = 0.95  # least share of the pairs at the threshold that have a band in common
_ROWS = 1 << 16  # documents whose hashes are read at a time
_SEQUENCES = 1 << 11  # word sequences that are hashed at a time, for the cache of the processor
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]{{1,64}}")
"""A word; longer ones are divided, so that a chunk's last word is bounded."""


def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError:
        raise UserError(
            "data.clean.near_duplicates: needs the package datasketch (pip install 'lmlab[corpora]')"
        ) from None
    return datasketch


def _number(value: Any) -> int:
    return int(value)


class Signatures:
    """Computes the minimal hashes of documents, which come in chunks; memory does not grow with a document.

    Raises:
        UserError: a package is missing.
    """

    def __init__(self) -> None:
        self._empty = _datasketch().MinHash(HASHES, seed=_SEED, hashfunc=_number)
        self.begin()

    def begin(self) -> None:
        """Begin a document."""
        self._hashes = self._empty.copy()
        self._held = ""  # a word that may go on in the next chunk
        self._words = np.empty(0, np.uint64)  # the last ones, with which sequences begin
        self._sequences = 0

    def read(self, chunk: str) -> None:
        """Add a part of the document."""
        text = self._held + chunk.casefold()
        words = [*_WORD.finditer(text)]
        self._held = words.pop()[0] if words and words[-1].end() == len(text) else ""
        self._add([match[0] for match in words])

    def _add(self, words: Sequence[str]) -> None:
        new = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))
        words_N = np.concatenate([self._words, new])
        self._words = words_N[max(0, len(words_N) - _WORDS + 1) :]
        self._hash(_joined(words_N, _WORDS))

    def _hash(self, sequences_G: np.ndarray) -> None:
        self._sequences += len(sequences_G)
        for first in range(0, len(sequences_G), _SEQUENCES):
            self._hashes.update_batch(sequences_G[first : first + _SEQUENCES].tolist())

    def end(self) -> np.ndarray | None:
        """Return the minimal hashes [H] uint32 of the document; ``None`` if it has no words."""
        if self._held:
            self._add([self._held])
        if not self._sequences and len(self._words):  # a document of fewer words is one sequence
            self._hash(_joined(self._words, len(self._words)))
        return np.asarray(self._hashes.hashvalues, np.uint32) if self._sequences else None


def _joined(words_N: np.ndarray, length: int) -> np.ndarray:
    """Return a hash [G] uint64, below 2**32, of each sequence of words."""
    number = max(0, len(words_N) - length + 1)
    hashes_G = np.zeros(number, np.uint64)
    for place in range(length):
        hashes_G = (hashes_G ^ words_N[place : place + number]) * _MULTIPLIER
        hashes_G ^= hashes_G >> np.uint64(29)
    return hashes_G >> np.uint64(32)


def near_duplicates(signatures_NH: np.ndarray, order: np.ndarray, threshold: float) -> list[int]:
    """Return the documents that are similar to an earlier one that stays.

    Memory is some 30 bytes for each document, and 7 kB for each that stays and has a band in common with another.

    Args:
        signatures_NH: minimal hashes of documents, zeros for one without words; it may be a memory-mapped file.
        order: the documents to compare, in the order in which they stay.
        threshold: the least estimated similarity.
    """
    datasketch = _datasketch()
    index = datasketch.MinHashLSH(num_perm=HASHES, params=_bands(threshold))
    removed = []
    hashes = datasketch.MinHash(HASHES, seed=_SEED)
    for number in order[_share_a_band(signatures_NH, index.hashranges)[order]].tolist():
        signals.check()
        hashes.hashvalues = np.array(signatures_NH[number])
        if not hashes.hashvalues.any():
            continue
        others = index.query(hashes)
        if others and (signatures_NH[others] == hashes.hashvalues).mean(1).max() >= threshold:
            removed.append(number)
        else:
            index.insert(number, hashes, check_duplication=False)
    return removed


def _bands(threshold: float) -> tuple[int, int]:
    """Return the number of bands and of values in each: the longest with which few similar pairs are missed."""
    shapes = ((HASHES // rows, rows) for rows in range(HASHES // 2, 0, -1))
    return next((bands, rows) for bands, rows in shapes if 1 - (1 - threshold**rows) ** bands >= _COMPARED)


def _share_a_band(signatures_NH: np.ndarray, bands: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return [N] bool: documents that have the values of a band in common with another document."""
    shared_N = np.zeros(len(signatures_NH), bool)
    for first, end in bands:
        values_N = np.zeros(len(signatures_NH), np.uint64)
        for row in range(0, len(values_N), _ROWS):
            signals.check()
            part = values_N[row : row + _ROWS]
            for column in signatures_NH[row : row + _ROWS, first:end].T:
                part *= _MULTIPLIER
                part ^= part >> np.uint64(31)
                part += column
        sorted_N = np.sort(values_N)
        several = np.unique(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]])
        if len(several):
            places_N = np.searchsorted(several, values_N).clip(max=len(several) - 1)
            shared_N |= several[places_N] == values_N
    return shared_N
