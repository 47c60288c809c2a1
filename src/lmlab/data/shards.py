"""Text tokenised once: one memory-mapped file of ids per split, kept under a fingerprint of all that they depend on."""

import copy
import fcntl
import hashlib
import inspect
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.corpora import Corpus
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import UserError, nearest
from lmlab.progress import ProgressBar
from lmlab.runs.files import dumps, read_json

_META = "meta.json"


class TokenizedCorpus:
    """A corpus as token ids on disk; made by :func:`prepare`.

    Attributes:
        folder: where it lies.
        name: name of the corpus.
        splits: the splits that it has.
        tokenizer: the fitted tokenizer.
        fingerprint: SHA-256, in hexadecimal, of all token ids and the tokenizer: equal exactly when results compare.
    """

    def __init__(self, folder: Path, kind: type[Tokenizer]) -> None:
        self.folder = folder
        self._meta: dict[str, Any] = read_json(folder / _META)
        self.name: str = self._meta["name"]
        self.splits: tuple[str, ...] = tuple(self._meta["splits"])
        self.tokenizer: Tokenizer = load_tokenizer(folder, kind)
        self.fingerprint: str = self._meta["fingerprint"]

    def tokens(self, split: str) -> np.ndarray:
        """Return the memory-mapped ids [1 + N] of a split: the separator and a document, for each document in turn.

        The N ids after the first one are what is trained on and scored.

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
        """Return tokens of a split per byte of its text as UTF-8: what turns a loss per token into one per byte.

        Args:
            first: of the first so many tokens and their part of the text, which is their part of what the tokens
                decode to; ``None``: of the whole split.
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

    Any number of processes may call this at once: one prepares, the others wait for it. A folder in ``cache`` is whole
    whenever it has its final name, even if a process is killed.

    Args:
        tokenizer: left as it is; one that is not fitted yet has a copy fitted to the training split.
        cache: the folder for prepared and downloaded corpora.
        corpora: the user's folder of corpora, looked in before anything is downloaded.
        progress: show a progress bar where this takes long.

    Raises:
        UserError: the text is missing or faulty, does not suit the tokenizer, or ``cache`` cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        corpus.find(corpora, cache, progress)
        key = f"{corpus.name}-{_key(corpus, tokenizer)[:16]}"
        folder = cache / key
        with _locked(cache / f".{key}.lock"):
            prepared = _open_whole(folder, type(tokenizer))
            if prepared is None:
                temporary = cache / f".{key}.tmp"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
                temporary.mkdir()
                try:
                    _write(corpus, tokenizer, temporary, progress)
                    _flush(temporary)
                    temporary.rename(folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
                prepared = TokenizedCorpus(folder, type(tokenizer))
            return prepared
    except OSError as error:
        raise UserError(f"paths.cache={cache}: cannot prepare {corpus.name} there ({error})") from error


def _key(corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of all that the ids depend on: the text, the tokenizer's options and vocabulary, the code."""
    parts = [
        corpus.fingerprint(),
        tokenizer.fingerprint(),
        *(Path(inspect.getfile(code)).read_text(encoding="utf-8") for code in (type(tokenizer), Tokenizer, prepare)),
        version("tokenizers"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(corpus: Corpus, tokenizer: Tokenizer, folder: Path, progress: bool) -> None:
    sizes = {split: sum(len(document.encode()) for document in corpus.documents(split)) for split in corpus.splits}
    if not tokenizer.fitted:
        tokenizer = copy.deepcopy(tokenizer)
        with ProgressBar(f"Fitting the tokenizer to {corpus.name}", sizes["train"], progress) as bar:
            tokenizer.fit(_counted(corpus.documents("train"), bar))
    tokenizer.save(folder)
    digest = hashlib.sha256(tokenizer.fingerprint().encode())
    splits = {}
    for split in corpus.splits:
        with ProgressBar(f"Tokenising {corpus.name}: {split}", sizes[split], progress) as bar:
            tokens, documents = _write_split(corpus, tokenizer, split, folder, digest, bar)
        if tokens < 1:
            raise UserError(f"data={corpus.name}: its {split} split has no tokens")
        unknown = sum(map(tokenizer.unknown, corpus.documents(split)))
        splits[split] = {"tokens": tokens, "bytes": sizes[split], "documents": documents, "unknown": unknown}
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
) -> tuple[int, int]:
    """Write the ids of a split, add them to ``digest``, and return how many tokens and documents there are."""
    dtype = _dtype(tokenizer)
    separator = np.array([tokenizer.separator], dtype)
    tokens, documents = -1, 0
    with (folder / f"{split}.bin").open("wb") as file:
        for ids in tokenizer.encode_all(_counted(corpus.documents(split), bar)):
            content = np.concatenate([separator, ids.astype(dtype)]).tobytes()
            file.write(content)
            digest.update(content)
            tokens += 1 + ids.size
            documents += 1
    return tokens, documents


def _counted(documents: Iterator[str], bar: ProgressBar) -> Iterator[str]:
    for document in documents:
        yield document
        bar.advance(len(document.encode()))


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype("<u2" if tokenizer.size <= 1 << 16 else "<u4")


def _open_whole(folder: Path, kind: type[Tokenizer]) -> TokenizedCorpus | None:
    """Return the corpus in ``folder``, or ``None`` where that is absent or damaged."""
    try:
        corpus = TokenizedCorpus(folder, kind)
        expected = {split: (1 + corpus.count(split)) * _dtype(corpus.tokenizer).itemsize for split in corpus.splits}
        sizes = {split: (folder / f"{split}.bin").stat().st_size for split in corpus.splits}
    except (OSError, ValueError, KeyError):
        return None
    return corpus if sizes == expected else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the lock at ``path`` and hold it; the system releases it even when the process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush(folder: Path) -> None:
    """Have the files of a folder, and their names, written to the disk itself."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
