"""Frequencies of the vocabulary's types in a split, counted once and stored with the tokens."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from lmlab.data.shards import TokenizedCorpus
from lmlab.runs.files import write_whole

CHUNK = 1 << 22
"""Tokens counted at a time, so that a large split is never in memory as a whole."""


def frequencies(corpus: TokenizedCorpus, split: str) -> np.ndarray:
    """Return [V] int64: how often each type is one of the tokens that are trained on or scored in ``split``.

    Raises:
        UserError: the corpus has no such split.
    """
    tokens = corpus.tokens(split)[1:]
    path = corpus.folder / f"{split}.counts.npy"
    with suppress(OSError, ValueError, EOFError):
        kept: np.ndarray = np.load(path)
        if kept.shape == (corpus.tokenizer.size,) and kept.sum() == len(tokens):
            return kept
    counts = np.zeros(corpus.tokenizer.size, np.int64)
    for first in range(0, len(tokens), CHUNK):
        counts += np.bincount(tokens[first : first + CHUNK], minlength=len(counts))

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, counts)

    with suppress(OSError):  # the cache may be read-only
        write_whole(path, save)
    return counts
