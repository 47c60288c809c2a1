"""Text tokenised once: one memory-mapped file of ids per split, cached under a fingerprint of all inputs."""

import copy
import hashlib
import inspect
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.corpora import Corpus
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError, nearest
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps, flush, read_json, write_whole

_META = "meta.json"


class TokenizedCorpus:
    """A corpus as token ids on disk; made by :func:`prepare`.

    Attributes:
        folder: folder of its files.
        name: name of the corpus.
        splits: the splits that it has.
        tokenizer: the fitted tokenizer.
        fingerprint: SHA-256, in hexadecimal, of all token ids and the tokenizer; results are comparable if it is equal.
        notes: messages to the user about the source files.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path, kind: type[Tokenizer]) -> None:
        self.folder = folder
        self._meta: dict[str, Any] = read_json(folder / _META)
        self.name: str = self._meta["name"]
        self.splits: tuple[str, ...] = tuple(self._meta["splits"])
        self.tokenizer: Tokenizer = load_tokenizer(folder, kind)
        self.fingerprint: str = self._meta["fingerprint"]

    def tokens(self, split: str) -> np.ndarray:
        """Return the memory-mapped ids [1 + N] of a split: the separator and a document, for each document in turn.

        The N ids after the first one are trained on and scored.

        Raises:
            UserError: the corpus has no such split.
        """
        self._of(split)
        return np.memmap(self.folder / f"{split}.bin", _dtype(self.tokenizer), "r")

    def count(self, split: str) -> int:
        """Return N: how many tokens of a split are scored, separators between its documents included."""
        return int(self._of(split)["tokens"])

    def bytes(self, split: str) -> int:
        """Return the size of a split's text as UTF-8, in bytes."""
        return int(self._of(split)["bytes"])

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
        part, whole = (len(self.tokenizer.decode(some).encode()) for some in (ids[:first], ids))
        return first / (self.bytes(split) * part / whole)

    def describe(self) -> dict[str, Any]:
        """Return names, licence, fingerprints and, per split, counts of tokens, bytes, documents and unknown tokens."""
        return copy.deepcopy(self._meta)

    def _of(self, split: str) -> dict[str, Any]:
        if split not in self.splits:
            raise UserError(f"split={split}: {self.name} has no such split{nearest(split, self.splits)}")
        return self._meta["splits"][split]  # type: ignore[no-any-return]


def prepare(
    corpus: Corpus, tokenizer: Tokenizer, cache: Path, corpora: Path | None = None, progress: bool = True
) -> TokenizedCorpus:
    """Return ``corpus`` as token ids, from ``cache`` if it was prepared before with the same text, tokenizer and code.

    Any number of processes may call this at once: one prepares, the others wait for it. A folder in ``cache`` with its
    final name is complete, even if a process was killed.

    Args:
        tokenizer: not changed; if it is not fitted, a copy is fitted to the training split.
        cache: the folder for prepared and downloaded corpora.
        corpora: the user's folder of corpora, looked in before anything is downloaded.
        progress: show a progress bar where this takes long.

    Raises:
        UserError: the text is missing or faulty, does not fit the tokenizer, or ``cache`` cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        corpus.find(corpora, cache, progress)
        key = f"{corpus.name}-{_key(corpus, tokenizer)[:16]}"
        folder = cache / key
        from filelock import FileLock

        with FileLock(cache / f".{key}.lock"):  # the system releases it even when the process is killed
            prepared = _open_whole(folder, type(tokenizer))
            if prepared is None:
                temporary = cache / f".{key}.tmp"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
                temporary.mkdir()
                try:
                    _write(corpus, tokenizer, temporary, progress)
                    flush(temporary)
                    temporary.rename(folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
                prepared = TokenizedCorpus(folder, type(tokenizer))
            prepared.notes = corpus.notes
            return prepared
    except OSError as error:
        raise UserError(f"paths.cache={cache}: cannot prepare {corpus.name} there ({error})") from error


def find_prepared(fingerprint: str, caches: Iterable[Path], kind: type[Tokenizer]) -> TokenizedCorpus | None:
    """Return the corpus with that fingerprint from one of some caches; ``None``: no cache holds it completely.

    Neither its text nor the code that prepared it needs to exist any more.
    """
    for cache in caches:
        for path in sorted(cache.glob(f"[!.]*/{_META}")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                same = read_json(path)["fingerprint"] == fingerprint
                if same and (prepared := _open_whole(path.parent, kind)) is not None:
                    return prepared
    return None


def _key(corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of all that the ids depend on: the text, the tokenizer's options and vocabulary, the code."""
    parts = [
        corpus.fingerprint(),
        tokenizer.fingerprint(),
        *(Path(inspect.getfile(code)).read_text(encoding="utf-8") for code in (type(tokenizer), prepare)),
        *(path.read_text(encoding="utf-8") for path in sorted(Path(inspect.getfile(Tokenizer)).parent.glob("*.py"))),
        version("tokenizers"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(corpus: Corpus, tokenizer: Tokenizer, folder: Path, progress: bool) -> None:
    sizes = {split: sum(map(_size, chain.from_iterable(corpus.chunks(split)))) for split in corpus.splits}
    if not tokenizer.fitted:
        tokenizer = copy.deepcopy(tokenizer)
        with ProgressBar(f"Fitting the tokenizer to {corpus.name}", sizes["train"], progress) as bar:
            tokenizer.fit(_counted(chain.from_iterable(map(tokenizer.pieces, corpus.chunks("train"))), bar))
    tokenizer.save(folder)
    digest = hashlib.sha256(tokenizer.fingerprint().encode())
    splits = {}
    for split in corpus.splits:
        with ProgressBar(f"Tokenising {corpus.name}: {split}", sizes[split], progress) as bar:
            counts = _write_split(corpus, tokenizer, split, folder, digest, bar)
        if counts["tokens"] < 1:
            raise UserError(
                f"data={corpus.name}: its {split} split has no tokens; it needs at least one: give more text"
            )
        splits[split] = {"tokens": counts["tokens"], "bytes": sizes[split], **counts}
    meta = {
        "name": corpus.name,
        "licence": corpus.licence,
        "fingerprint": digest.hexdigest(),
        "corpus_fingerprint": corpus.fingerprint(),
        "tokenizer_fingerprint": tokenizer.fingerprint(),
        "vocabulary": tokenizer.size,
        "splits": splits,
    }
    (folder / _META).write_text(dumps(meta, indent=2) + "\n", encoding="utf-8")


def _write_split(
    corpus: Corpus, tokenizer: Tokenizer, split: str, folder: Path, digest: Any, bar: ProgressBar
) -> dict[str, int]:
    """Write the ids of a split, add them to ``digest``, and count its tokens, documents and unknown tokens."""
    dtype = _dtype(tokenizer)
    separator = np.array([tokenizer.separator], dtype).tobytes()
    begins: deque[bool] = deque()  # for each piece being encoded: it begins a document
    counts = {"tokens": -1, "documents": 0, "unknown": 0}

    def pieces() -> Iterator[str]:
        for chunks in corpus.chunks(split):
            begins.append(True)
            for piece in tokenizer.pieces(chunks):
                counts["unknown"] += len(tokenizer.outside(piece))
                yield piece
                begins.append(False)
            begins.pop()

    with (folder / f"{split}.bin").open("wb") as file:
        for ids in tokenizer.encode_all(_counted(pieces(), bar)):
            first = begins.popleft()
            content = separator * first + ids.astype(dtype).tobytes()
            file.write(content)
            digest.update(content)
            counts["tokens"] += first + ids.size
            counts["documents"] += first
    return counts


def _counted(texts: Iterator[str], bar: ProgressBar) -> Iterator[str]:
    for text in texts:
        yield text
        signals.check()
        bar.advance(_size(text))


def _size(text: str) -> int:
    """Return the size of a text as UTF-8, in bytes."""
    return len(text) if text.isascii() else len(text.encode())


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")


def _open_whole(folder: Path, kind: type[Tokenizer]) -> TokenizedCorpus | None:
    """Return the corpus in ``folder``, or ``None`` if it is absent or damaged."""
    try:
        corpus = TokenizedCorpus(folder, kind)
        expected = {split: (1 + corpus.count(split)) * _dtype(corpus.tokenizer).itemsize for split in corpus.splits}
        sizes = {split: (folder / f"{split}.bin").stat().st_size for split in corpus.splits}
    except (OSError, ValueError, KeyError):
        return None
    return corpus if sizes == expected else None


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
