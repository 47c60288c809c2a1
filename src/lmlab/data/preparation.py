"""Tokenising a corpus once, as a stream: memory does not grow with the text, and interrupted work continues.

Ids are appended to one file per split in a temporary folder, and the starts of its documents to another; the held-out
splits come first. The folder is renamed when it is complete. A record in it, replaced every second, counts what is on
disk. A process that continues reads the text before that point again without encoding it.
"""

import copy
import hashlib
import inspect
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.fingerprints import streamed_fingerprint
from lmlab.data.sample import evenly_sampled, size_of
from lmlab.data.shards import META, START, TRAIN, TokenizedCorpus, dtype_of, open_whole, starts_in
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.errors import Interrupted, UserError
from lmlab.processes import signals
from lmlab.progress import ProgressBar
from lmlab.runs.disk import not_prepared
from lmlab.runs.files import flush, read_json, write_json

_PROGRESS = "progress.json"
_INTERVAL = 1.0
"""Seconds between two records of what has been written."""
_BLOCK = 1 << 24
"""Bytes of ids that are read at a time."""
_LOCK_WAIT = 0.2
"""Seconds of waiting for a lock between two checks of whether to stop."""


@dataclass(frozen=True)
class Place:
    """The place of a prepared corpus in a cache.

    Attributes:
        cache: folder of prepared corpora.
        key: name of the corpus and a hash of all that its ids depend on.
    """

    cache: Path
    key: str

    @property
    def folder(self) -> Path:
        """Return the folder of the complete corpus."""
        return self.cache / self.key

    @property
    def temporary(self) -> Path:
        """Return the folder while it is being prepared."""
        return self.cache / f".{self.key}.tmp"

    def training_tokens(self) -> int:
        """Return how many tokens of the training split are on disk in the temporary folder; -1: no file is.

        The first separator is not counted.
        """
        progress = _Progress.of(self.temporary)
        return -1 if progress is None else progress.splits.get(TRAIN, _Counts()).tokens


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
    return Preparation(corpus, tokenizer, cache, corpora, progress).whole()


def _about_fitting(corpus: TokenizedCorpus) -> list[str]:
    """Return a note if the tokenizer was fitted to a sample."""
    if (fitted_to := corpus.describe().get("fitted_to")) is None:
        return []
    size, whole = (f"{fitted_to[count] / 1e6:,.0f}" for count in ("bytes", "of"))
    return [f"tokenizer: fitted to an even sample of {size} MB of the training split's {whole} MB"]


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


class Preparation:
    """The preparation of a corpus, whose text is found first; the arguments are those of :func:`prepare`.

    Attributes:
        place: the place of its tokens.
        shown: show progress bars.
        check: called between pieces of text; what it raises ends the preparation, which can be continued.

    Raises:
        UserError: see :func:`prepare`.
    """

    place: Place

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        cache: Path,
        corpora: Path | None = None,
        progress: bool = True,
    ) -> None:
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.fits = not tokenizer.fitted
        self.cache = cache
        self.shown = progress
        self.check: Callable[[], None] = signals.check
        with self._errors():
            cache.mkdir(parents=True, exist_ok=True)
            corpus.progress = progress
            corpus.find(corpora, cache, progress)
            self.fingerprint = corpus.fingerprint()
            self.place = Place(cache, f"{corpus.name}-{_key(self.fingerprint, tokenizer)[:16]}")
            self.folder = self.place.temporary

    def whole(self) -> TokenizedCorpus:
        """Return the complete corpus. Raises ``UserError`` as :func:`prepare` does."""
        with self._errors():
            if (prepared := self._open()) is None:
                with self._lock():
                    if (prepared := self._open()) is None:
                        self._write()
                        prepared = TokenizedCorpus(self.place.folder, type(self.tokenizer))
        prepared.notes = (*self.corpus.notes, *_about_fitting(prepared))
        return prepared

    def begin(self, tokens: int) -> None:
        """Prepare the held-out splits and ``tokens`` tokens of the training split, or all, if they are not on disk.

        Raises:
            UserError: see :func:`prepare`.
        """

        def suffices() -> bool:
            return self.place.training_tokens() >= tokens or self._open() is not None

        with self._errors():
            if not suffices():
                with self._lock(suffices) as locked:
                    if locked and not suffices():
                        self._write(tokens)

    def _open(self) -> TokenizedCorpus | None:
        return open_whole(self.place.folder, type(self.tokenizer), starts=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise a ``UserError`` if the cache cannot be written."""
        try:
            yield
        except OSError as error:
            continues = hasattr(self, "place") and (self.place.temporary / _PROGRESS).exists()
            message = not_prepared(error, self.corpus.name, self.cache)
            raise UserError(message + (", which continues from there" if continues else "")) from error

    @contextmanager
    def _lock(self, unnecessary: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Wait for the lock of the place and yield whether it is held: not if it has become ``unnecessary``."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.cache / f".{self.place.key}.lock")  # the system releases it even if the process is killed
        while not lock.is_locked and not unnecessary():
            self.check()
            with suppress(Timeout):
                lock.acquire(timeout=_LOCK_WAIT)
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _write(self, tokens: int | None = None) -> None:
        """Write the folder from what is there of it; if this fails, only what can be continued is left.

        Args:
            tokens: end after so many of the training split, if it has more; ``None``: write all.
        """
        shutil.rmtree(self.place.folder, ignore_errors=True)
        self.sizes = {split: self.corpus.size(split) for split in self.corpus.splits}  # in bytes, for progress bars
        fresh = self.tokenizer
        try:
            try:
                whole = self._run(tokens)
            except _CannotContinue:
                shutil.rmtree(self.folder)
                self.tokenizer = fresh
                whole = self._run(tokens)
        except (OSError, KeyboardInterrupt, Interrupted):
            if not (self.folder / _PROGRESS).exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        if whole:
            self.folder.rename(self.place.folder)
            (self.place.folder / _PROGRESS).unlink()

    def _run(self, tokens: int | None) -> bool:
        """Write the temporary folder, and return whether it is complete."""
        progress = _Progress.of(self.folder)
        if progress is None:
            shutil.rmtree(self.folder, ignore_errors=True)  # left by a process that was killed before it saved anything
            self.folder.mkdir()
            progress = self._fit()
            self.tokenizer.save(self.folder)
            flush(self.folder)
            progress.save(self.folder)
        else:
            self.tokenizer = self._saved_tokenizer()
        held_out = [split for split in self.corpus.splits if split != TRAIN]
        for split in held_out:
            self._write_split(progress, split)
        if len(held_out) < len(self.corpus.splits):
            # A run can begin with them.
            write_json(self.folder / META, self._meta(progress, held_out))
            if not self._write_split(progress, TRAIN, tokens):
                return False
        meta = self._meta(progress, self.corpus.splits)
        self.corpus.verify(self.tokenizer, meta["splits"], self.fits)
        write_json(self.folder / META, meta | {"fingerprint": self._fingerprint()})
        flush(self.folder)
        return True

    def _meta(self, progress: _Progress, splits: Iterable[str]) -> dict[str, Any]:
        """Return the description of the corpus with some splits."""
        meta = {
            "name": self.corpus.name,
            "licence": self.corpus.licence,
            "provenance": self.corpus.provenance(),
            "fingerprint": "",
            "corpus_fingerprint": self.fingerprint,
            "tokenizer_fingerprint": self.tokenizer.fingerprint(),
            "vocabulary": self.tokenizer.size,
            **({"fitted_to": progress.fitted_to} if progress.fitted_to else {}),
            **({"cleaning": cleaned} if (cleaned := self.corpus.cleaned()) else {}),
            "splits": {split: progress.splits[split].described() for split in splits},
        }
        return meta | {"fingerprint": streamed_fingerprint(meta)}

    def _fingerprint(self) -> str:
        """Return the SHA-256, in hexadecimal, of the tokenizer and all ids."""
        digest = hashlib.sha256(self.tokenizer.fingerprint().encode())
        for split in self.corpus.splits:
            with (self.folder / f"{split}.bin").open("rb") as file:
                while content := file.read(_BLOCK):
                    self.check()
                    digest.update(content)
        return digest.hexdigest()

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

    def _write_split(self, progress: _Progress, split: str, most: int | None = None) -> bool:
        """Write the ids of a split after those that are there; return whether all are there.

        Args:
            most: end after so many tokens.
        """
        dtype = dtype_of(self.tokenizer)
        separator = np.array([self.tokenizer.separator], dtype).tobytes()
        counts = progress.splits.setdefault(split, _Counts())
        pieces: deque[_Piece] = deque()  # those being encoded
        saved = time.monotonic()
        with (
            ProgressBar(f"Tokenising {self.corpus.name}: {split}", self.sizes[split], self.shown) as bar,
            _appended(self.folder / f"{split}.bin", dtype.itemsize * (1 + counts.tokens)) as file,
            _appended(starts_in(self.folder, split), START.itemsize * counts.documents) as starts,
        ):
            for ids in self.tokenizer.encode_all(self._new_pieces(split, copy.copy(counts), pieces, bar)):
                piece = pieces.popleft()
                file.write(separator * piece.begins + ids.astype(dtype).tobytes())
                if piece.begins:
                    starts.write(np.array([1 + counts.tokens], START).tobytes())
                counts.add(piece, ids.size)
                bar.advance(piece.size)
                if most is not None and counts.tokens >= most:
                    _save((file, starts), progress, self.folder)
                    return False
                if time.monotonic() - saved > _INTERVAL:
                    _save((file, starts), progress, self.folder)
                    saved = time.monotonic()
            _save((file, starts), progress, self.folder)
        if counts.tokens < 1:
            raise UserError(
                f"data={self.corpus.name}: its {split} split has no tokens; it needs at least one: give more text"
            )
        return True

    def _new_pieces(self, split: str, done: _Counts, pieces: deque[_Piece], bar: ProgressBar) -> Iterator[str]:
        """Yield the pieces of a split after those that are ``done``, and append a description of each to ``pieces``.

        Raises:
            _CannotContinue: the text before is not divided in the same way.
        """
        passed, size = 0, 0
        for chunks in self.corpus.chunks(split):
            begins = True
            for piece in self.tokenizer.pieces(chunks):
                self.check()
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
def _appended(path: Path, length: int) -> Iterator[IO[bytes]]:
    """Open a file to append to its first ``length`` bytes.

    Raises:
        _CannotContinue: the file is shorter.
    """
    with path.open("ab") as file:
        if file.tell() < length:
            raise _CannotContinue
        file.truncate(length)
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
