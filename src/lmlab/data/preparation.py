"""Tokenising a corpus once, as a stream: memory does not grow with the text, and interrupted work continues.

Ids are appended to one file per split in a temporary folder, and the starts of its documents to another. The folder is
renamed when it is complete. A record in it, replaced every few seconds, counts what is on disk. A process that
continues reads the text before that point again without encoding it.
"""

import copy
import hashlib
import inspect
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.sample import evenly_sampled, size_of
from lmlab.data.shards import META, START, TokenizedCorpus, dtype_of, open_whole, starts_in
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import Interrupted, UserError
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.disk import failure_of_disk
from lmlab.runs.files import flush, read_json, write_json

_PROGRESS = "progress.json"
_INTERVAL = 5.0
"""Seconds between two records of what has been written."""
_BLOCK = 1 << 24
"""Bytes of ids that are read at a time."""


def prepare(
    corpus: Corpus, tokenizer: Tokenizer, cache: Path, corpora: Path | None = None, progress: bool = True
) -> TokenizedCorpus:
    """Return ``corpus`` as token ids, from ``cache`` if it was prepared before with the same text, tokenizer and code.

    Any number of processes may call this at once: one prepares, the others wait for it. A folder in ``cache`` with its
    final name is complete, even if a process was killed; the next one continues from what it had written.

    Args:
        tokenizer: not changed; if it is not fitted, a copy is fitted to the training split.
        cache: the folder for prepared and downloaded corpora.
        corpora: the user's folder of corpora, looked in before anything is downloaded.
        progress: show a progress bar where this takes long.

    Raises:
        UserError: the text is missing or faulty, changes meanwhile, does not fit the tokenizer, or ``cache`` cannot be
            written.
    """
    temporary: Path | None = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        corpus.find(corpora, cache, progress)
        fingerprint = corpus.fingerprint()
        key = f"{corpus.name}-{_key(fingerprint, tokenizer)[:16]}"
        folder, temporary = cache / key, cache / f".{key}.tmp"
        if (prepared := open_whole(folder, type(tokenizer), starts=True)) is None:
            from filelock import FileLock

            with FileLock(cache / f".{key}.lock"):  # the system releases it even when the process is killed
                if (prepared := open_whole(folder, type(tokenizer), starts=True)) is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    _write(corpus, fingerprint, tokenizer, temporary, progress)
                    temporary.rename(folder)
                    (folder / _PROGRESS).unlink()
                    prepared = TokenizedCorpus(folder, type(tokenizer))
    except OSError as error:
        raise UserError(_not_written(error, corpus, cache, temporary)) from error
    prepared.notes = (*corpus.notes, *_about_fitting(prepared))
    return prepared


def _about_fitting(corpus: TokenizedCorpus) -> list[str]:
    """Return a note if the tokenizer was fitted to a sample."""
    if (fitted_to := corpus.describe().get("fitted_to")) is None:
        return []
    size, whole = (f"{fitted_to[count] / 1e6:,.0f}" for count in ("bytes", "of"))
    return [f"tokenizer: fitted to an even sample of {size} MB of the training split's {whole} MB"]


def _not_written(error: OSError, corpus: Corpus, cache: Path, temporary: Path | None) -> str:
    """Return a message about a cache that cannot be written."""
    reason = error.strerror or str(error)
    place = f" ({error.filename})" if error.filename and str(error.filename) != str(cache) else ""
    message = f"paths.cache={cache}: cannot prepare {corpus.name} there: {reason}{place}"
    remedy = failure_of_disk(error) or "choose another folder"
    continues = temporary is not None and (temporary / _PROGRESS).exists()
    return f"{message}; {remedy} and repeat the command" + (", which continues from there" if continues else "")


def _key(text: str, tokenizer: Tokenizer) -> str:
    """Return the SHA-256 of all that the ids depend on: the text, the tokenizer's options and vocabulary, the code."""
    parts = [
        text,
        tokenizer.fingerprint(),
        *(Path(inspect.getfile(code)).read_text(encoding="utf-8") for code in (type(tokenizer), prepare)),
        *(path.read_text(encoding="utf-8") for path in sorted(Path(inspect.getfile(Tokenizer)).parent.glob("*.py"))),
        version("tokenizers"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass
class _Counts:
    """Counts of a split: its tokens that are on disk, and the text that they stand for.

    Attributes:
        tokens: without the first separator.
        bytes: size of the text as UTF-8.
        pieces: pieces that the text was encoded in.
    """

    tokens: int = -1
    bytes: int = 0
    documents: int = 0
    unknown: int = 0
    pieces: int = 0

    def add(self, piece: "_Piece", tokens: int) -> None:
        """Count a piece of the text and its tokens."""
        self.tokens += piece.begins + tokens
        self.bytes += piece.size
        self.documents += piece.begins
        self.unknown += piece.unknown
        self.pieces += 1

    def described(self) -> dict[str, int]:
        """Return the counts that describe a whole split."""
        return {name: count for name, count in asdict(self).items() if name != "pieces"}


@dataclass
class _Progress:
    """The record of a preparation in its temporary folder.

    Attributes:
        splits: counts of the splits that have been begun, in order.
        fitted_to: ``bytes`` of text that the tokenizer was fitted to, ``of`` so many of the training split; ``None``:
            it was not fitted, or to all of them.
    """

    splits: dict[str, _Counts] = field(default_factory=dict)
    fitted_to: dict[str, int] | None = None

    @classmethod
    def of(cls, folder: Path) -> "_Progress | None":
        """Return the record in ``folder``; ``None`` if there is none that can be read."""
        try:
            record = read_json(folder / _PROGRESS)
            return cls({name: _Counts(**counts) for name, counts in record["splits"].items()}, record["fitted_to"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, folder: Path) -> None:
        """Replace the record; the files that it describes have to be on disk."""
        write_json(folder / _PROGRESS, asdict(self))


class _CannotContinue(Exception):
    """The output of an earlier process does not fit the text as it is read now."""


class _Piece(NamedTuple):
    """A piece of text that is being encoded: it begins a document; its bytes, and tokens outside the vocabulary."""

    begins: bool
    size: int
    unknown: int


def _write(corpus: Corpus, fingerprint: str, tokenizer: Tokenizer, folder: Path, progress: bool) -> None:
    """Write a complete folder, from what is there of it. If this fails, only what can be continued is left."""
    try:
        try:
            _Preparation(corpus, fingerprint, tokenizer, folder, progress).run()
        except _CannotContinue:
            shutil.rmtree(folder)
            _Preparation(corpus, fingerprint, tokenizer, folder, progress).run()
    except (OSError, KeyboardInterrupt, Interrupted):
        if not (folder / _PROGRESS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Preparation:
    """The preparation of a corpus in ``folder``, with progress bars if ``shown``."""

    def __init__(self, corpus: Corpus, fingerprint: str, tokenizer: Tokenizer, folder: Path, shown: bool) -> None:
        self.corpus = corpus
        self.fingerprint = fingerprint
        self.tokenizer = tokenizer
        self.fits = not tokenizer.fitted
        self.folder = folder
        self.shown = shown
        self.progress = _Progress.of(folder)
        self.sizes = {split: corpus.size(split) for split in corpus.splits}
        """Bytes of text of each split, for the progress bars."""

    def run(self) -> None:
        if self.progress is None:
            shutil.rmtree(self.folder, ignore_errors=True)  # left by a process that was killed before it saved anything
            self.folder.mkdir()
            self.progress = self._fit()
            self.tokenizer.save(self.folder)
            flush(self.folder)
            self.progress.save(self.folder)
        else:
            self.tokenizer = self._saved_tokenizer()
        ids = hashlib.sha256(self.tokenizer.fingerprint().encode())
        for split in self.corpus.splits:
            if self._write_split(self.progress, split, ids).tokens < 1:
                raise UserError(
                    f"data={self.corpus.name}: its {split} split has no tokens; it needs at least one: give more text"
                )
        splits = {split: self.progress.splits[split].described() for split in self.corpus.splits}
        self.corpus.verify(self.tokenizer, splits, self.fits)
        meta = {
            "name": self.corpus.name,
            "licence": self.corpus.licence,
            "provenance": self.corpus.provenance(),
            "fingerprint": ids.hexdigest(),
            "corpus_fingerprint": self.fingerprint,
            "tokenizer_fingerprint": self.tokenizer.fingerprint(),
            "vocabulary": self.tokenizer.size,
            **({"fitted_to": self.progress.fitted_to} if self.progress.fitted_to else {}),
            "splits": splits,
        }
        write_json(self.folder / META, meta)
        flush(self.folder)

    def _saved_tokenizer(self) -> Tokenizer:
        try:
            return load_tokenizer(self.folder, type(self.tokenizer))
        except UserError as error:
            raise _CannotContinue from error

    def _fit(self) -> _Progress:
        """Fit a copy of the tokenizer to the training split, if it is not fitted."""
        if self.tokenizer.fitted:
            return _Progress()
        self.tokenizer = copy.deepcopy(self.tokenizer)
        name, whole = self.corpus.name, 0

        def pieces() -> Iterator[str]:
            nonlocal whole
            for piece in chain.from_iterable(map(self.tokenizer.pieces, self.corpus.chunks("train"))):
                whole += size_of(piece)
                yield piece

        texts, size = pieces(), self.sizes["train"]
        if self.tokenizer.fitted_to_sample:
            with ProgressBar(f"Reading {name}: train", size, self.shown) as bar:
                sample = evenly_sampled(_counted(texts, bar))
            texts, size = iter(sample), sum(map(size_of, sample))
        with ProgressBar(f"Fitting the tokenizer to {name}", size, self.shown) as bar:
            self.tokenizer.fit(_counted(texts, bar))
        if not self.tokenizer.fitted_to_sample or size is None or size == whole:
            return _Progress()
        return _Progress(fitted_to={"bytes": size, "of": whole})

    def _write_split(self, progress: _Progress, split: str, digest: Any) -> _Counts:
        """Write the ids of a split after those that are there, and add all of them to ``digest``."""
        dtype = dtype_of(self.tokenizer)
        separator = np.array([self.tokenizer.separator], dtype).tobytes()
        counts = progress.splits.setdefault(split, _Counts())
        pieces: deque[_Piece] = deque()  # those being encoded
        saved = time.monotonic()
        with (
            ProgressBar(f"Tokenising {self.corpus.name}: {split}", self.sizes[split], self.shown) as bar,
            _appended(self.folder / f"{split}.bin", dtype.itemsize * (1 + counts.tokens), digest) as file,
            _appended(starts_in(self.folder, split), START.itemsize * counts.documents) as starts,
        ):
            for ids in self.tokenizer.encode_all(self._new_pieces(split, copy.copy(counts), pieces, bar)):
                piece = pieces.popleft()
                content = separator * piece.begins + ids.astype(dtype).tobytes()
                file.write(content)
                digest.update(content)
                if piece.begins:
                    starts.write(np.array([1 + counts.tokens], START).tobytes())
                counts.add(piece, ids.size)
                bar.advance(piece.size)
                if time.monotonic() - saved > _INTERVAL:
                    _save((file, starts), progress, self.folder)
                    saved = time.monotonic()
            _save((file, starts), progress, self.folder)
        return counts

    def _new_pieces(self, split: str, done: _Counts, pieces: deque[_Piece], bar: ProgressBar) -> Iterator[str]:
        """Yield the pieces of a split after those that are ``done``, and append a description of each to ``pieces``.

        Raises:
            _CannotContinue: the text before is not divided in the same way.
        """
        passed, size = 0, 0
        for chunks in self.corpus.chunks(split):
            begins = True
            for piece in self.tokenizer.pieces(chunks):
                signals.check()
                if passed < done.pieces:
                    passed, size = passed + 1, size + size_of(piece)
                    bar.advance(size_of(piece))
                elif size != done.bytes:
                    raise _CannotContinue
                else:
                    pieces.append(_Piece(begins, size_of(piece), len(self.tokenizer.outside(piece))))
                    yield piece
                begins = False
        if (passed, size) != (done.pieces, done.bytes):
            raise _CannotContinue


@contextmanager
def _appended(path: Path, length: int, digest: Any = None) -> Iterator[IO[bytes]]:
    """Open a file to append to its first ``length`` bytes, and add these to ``digest``, if there is one.

    Raises:
        _CannotContinue: the file is shorter.
    """
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END) < length:
            raise _CannotContinue
        file.truncate(length)
        file.seek(0)
        while digest is not None and (content := file.read(_BLOCK)):
            digest.update(content)
        yield file


def _save(files: Iterable[IO[bytes]], progress: _Progress, folder: Path) -> None:
    """Bring files to disk, then the record that counts their content."""
    for file in files:
        file.flush()
        os.fsync(file.fileno())
    progress.save(folder)


def _counted(texts: Iterable[str], bar: ProgressBar) -> Iterator[str]:
    for text in texts:
        yield text
        signals.check()
        bar.advance(size_of(text))
