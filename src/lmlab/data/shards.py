"""Tokenised text: one memory-mapped file of ids per split, cached under a fingerprint of all inputs."""

import copy
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError, nearest
from lmlab.runs.files import read_json, write_whole

META = "meta.json"
TRAIN = "train"
"""The split that is trained on."""
Content = TypeVar("Content")
START = np.dtype("<i8")
"""The type of the starts of documents in files."""


class Tokenized:
    """Data as token ids in a folder.

    Attributes:
        folder: folder of its files.
        name: name of the data.
        splits: the splits that there are.
        tokenizer: the fitted tokenizer.
        fingerprint: SHA-256, in hexadecimal, of all token ids and the tokenizer; results are comparable if it is equal.
    """

    def __init__(self, folder: Path, kind: type[Tokenizer]) -> None:
        self.folder = folder
        self._meta: dict[str, Any] = read_json(folder / META)
        self.name: str = self._meta["name"]
        self.splits: tuple[str, ...] = tuple(self._meta["splits"])
        self.tokenizer: Tokenizer = load_tokenizer(folder, kind)
        self.fingerprint: str = self._meta["fingerprint"]

    def describe(self) -> dict[str, Any]:
        """Return names, licence, fingerprints and counts per split, as plain values."""
        return copy.deepcopy(self._meta)

    def counts(self, split: str) -> dict[str, Any]:
        """Return the counts of a split. Raises ``UserError`` if there is no such split."""
        if split not in self.splits:
            raise UserError(f"split={split}: {self.name} has no such split{nearest(split, self.splits)}")
        counts: dict[str, Any] = self._meta["splits"][split]
        return counts


class TokenizedCorpus(Tokenized):
    """A corpus as token ids on disk; made by :func:`lmlab.data.preparation.prepare`.

    Attributes:
        notes: messages to the user about the source files.
    """

    notes: tuple[str, ...] = ()

    def tokens(self, split: str) -> np.ndarray:
        """Return the memory-mapped ids [1 + N] of a split: the separator and a document, for each document in turn.

        The N ids after the first one are trained on and scored.

        Raises:
            UserError: the corpus has no such split.
        """
        self.counts(split)
        return np.memmap(self.folder / f"{split}.bin", dtype_of(self.tokenizer), "r")

    def starts(self, split: str) -> np.ndarray:
        """Return the memory-mapped places [D] of the separators in :meth:`tokens` that begin a document, in order.

        A tokenizer may use the id of the separator within a document as well.

        Raises:
            UserError: the corpus has no such split.
        """
        self.counts(split)
        return np.memmap(starts_in(self.folder, split), START, "r")

    def count(self, split: str) -> int:
        """Return N: how many tokens of a split are scored, separators between its documents included."""
        return int(self.counts(split)["tokens"])

    def bytes(self, split: str) -> int:
        """Return the size of a split's text as UTF-8, in bytes."""
        return int(self.counts(split)["bytes"])

    def tokens_per_byte(self, split: str, first: int | None = None) -> float:
        """Return tokens of a split per byte of its text as UTF-8: the factor from a loss per token to one per byte.

        Args:
            first: number of tokens from the start to compute it for, together with the text that they decode to;
                ``None``: the whole split.
        """
        tokens = self.count(split)
        if first is None or first >= tokens:
            return tokens / self.bytes(split)
        ids = self.tokens(split)[1:]
        part, whole = (_decoded_size(self.tokenizer, some) for some in (ids[:first], ids))
        return first / (self.bytes(split) * part / whole)


def starts_in(folder: Path, split: str) -> Path:
    """Return the file with the starts of a split's documents."""
    return folder / f"{split}.documents.bin"


def find_prepared(
    fingerprint: str, caches: Iterable[Path], open_folder: Callable[[Path], Content | None]
) -> Content | None:
    """Return the data with that fingerprint from one of some caches; ``None``: no cache holds them completely.

    Neither their text nor the code that prepared them needs to exist any more.

    Args:
        open_folder: returns what a folder holds, or ``None`` if that is damaged.
    """
    for cache in caches:
        for path in sorted(cache.glob(f"[!.]*/{META}")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                same = read_json(path)["fingerprint"] == fingerprint
                if same and (prepared := open_folder(path.parent)) is not None:
                    return prepared
    return None


def dtype_of(tokenizer: Tokenizer) -> np.dtype[Any]:
    """Return the type of ids in files."""
    return np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")


def open_whole(folder: Path, kind: type[Tokenizer], starts: bool = False) -> TokenizedCorpus | None:
    """Return the corpus in ``folder``, or ``None`` if it is absent or damaged.

    Args:
        starts: the starts of documents have to be there.
    """
    try:
        corpus = TokenizedCorpus(folder, kind)
        expected = {split: (1 + corpus.count(split)) * dtype_of(corpus.tokenizer).itemsize for split in corpus.splits}
        sizes = {split: (folder / f"{split}.bin").stat().st_size for split in corpus.splits}
        if starts:
            documents = {split: corpus.describe()["splits"][split]["documents"] for split in corpus.splits}
            expected |= {f"{split} starts": number * START.itemsize for split, number in documents.items()}
            sizes |= {f"{split} starts": starts_in(folder, split).stat().st_size for split in corpus.splits}
    except (OSError, ValueError, KeyError):
        return None
    return corpus if sizes == expected else None


CHUNK = 1 << 22
"""Tokens read at a time, so that a large split is never in memory as a whole."""


def _decoded_size(tokenizer: Tokenizer, ids: np.ndarray) -> int:
    """Return the size in bytes of the text of ids; with many, a character that a chunk's end divides counts twice."""
    chunks = (ids[first : first + CHUNK] for first in range(0, len(ids), CHUNK))
    return sum(len(tokenizer.decode(chunk).encode()) for chunk in chunks)


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
