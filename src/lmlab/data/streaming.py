"""A corpus that is trained on while its training split is still being tokenised."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lmlab.data.corpora.corpus import Corpus
from lmlab.data.dataset import Opening
from lmlab.data.fingerprints import streamed_fingerprint
from lmlab.data.preparation import Place, Preparation
from lmlab.data.shards import META, TRAIN, TokenizedCorpus, dtype_of, open_whole
from lmlab.data.tokenizers import Tokenizer
from lmlab.errors import Interrupted, UserError
from lmlab.processes import signals
from lmlab.processes.layout import get_rank
from lmlab.runs.files import read_json

_POLL = 0.1
"""Seconds between two looks at how far the preparation is."""
_PATIENCE = 2.0
"""Seconds of waiting before a message."""
_JOIN = 10.0
"""Seconds that the preparation has to end."""


class StreamedCorpus(TokenizedCorpus):
    """A corpus whose held-out splits are on disk, and whose training split is prepared in the background when needed.

    The background is a thread of this process, which waits while another process prepares the same corpus. Its
    fingerprint is :func:`lmlab.data.fingerprints.streamed_fingerprint`, and its description has no counts of the
    training split, whether or not this is complete.

    Args:
        place: the place in a cache.
        corpus: the text.
        opening: the settings of the run.
        preparation: the preparation that completes it; ``None``: one is made when it is needed.
    """

    def __init__(self, place: Place, corpus: Corpus, opening: Opening, preparation: Preparation | None = None) -> None:
        super().__init__(_folder_of(place), type(opening.tokenizer))
        self.place = place
        self.fingerprint = streamed_fingerprint(self._meta)
        self.waiting: list[Callable[[], None]] = []
        """Functions that are called while ids are waited for; each may be called many times."""
        self._meta = self._meta | {
            "fingerprint": self.fingerprint,
            "splits": {split: counts for split, counts in self._meta["splits"].items() if split != TRAIN},
        }
        self._corpus = corpus
        self._opening = opening
        self._preparation = preparation
        self._held_out = {split: super(StreamedCorpus, self).tokens(split) for split in self._meta["splits"]}
        self._ids = np.empty(0, dtype_of(self.tokenizer))
        self._whole: TokenizedCorpus | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._closed = threading.Event()
        self.splits = (TRAIN, *self._held_out)

    def tokens(self, split: str) -> np.ndarray:
        return self._held_out[split] if split in self._held_out else self.whole().tokens(split)

    def whole(self) -> TokenizedCorpus:
        """Return the complete corpus; it is completed if necessary."""
        self._look()
        if self._whole is None:
            self._whole = self._find_text().whole()
        return self._whole

    def first_ids(self, least: int) -> tuple[np.ndarray, bool]:
        """Return ids from the beginning of the training split, and whether they are all: at least ``least``, or all.

        If they are not all on disk, the rest is prepared in the background from now on.

        Raises:
            UserError: the preparation has failed.
            Interrupted: a stop signal came while it waited.
        """
        if self._whole is None and self._thread is None and not self.on_disk()[1]:
            self._begin()
        if self._error is not None:
            raise self._error
        return self.beginning(least)

    def beginning(self, least: int) -> tuple[np.ndarray, bool]:
        """Return ids as :meth:`first_ids` does; nothing is prepared if they are on disk."""
        if self._whole is None and len(self._ids) < least and len(self.on_disk()[0]) < least:
            if self._thread is None:
                self._begin()
            self._wait(least)
        return self._ids, self._whole is not None

    def on_disk(self) -> tuple[np.ndarray, bool]:
        """Return the ids of the training split that are on disk now, and whether they are all."""
        self._look()
        return self._ids, self._whole is not None

    def close(self) -> None:
        """Stop the preparation in the background; a later one continues from what is on disk."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_JOIN)

    def counts(self, split: str) -> dict[str, Any]:
        return self.whole().counts(split) if split == TRAIN else super().counts(split)

    def _look(self) -> None:
        """Note what is on disk of the training split now."""
        with suppress(OSError, ValueError, KeyError, TypeError):  # it may be renamed or begun again at any moment
            if self._whole is not None:
                return
            if (self.place.folder / META).exists():
                self._whole = open_whole(self.place.folder, type(self.tokenizer))
            if self._whole is not None:
                self._ids = np.asarray(self._whole.tokens(TRAIN))
            elif (tokens := self.place.training_tokens()) >= len(self._ids):
                path = self.place.temporary / f"{TRAIN}.bin"
                self._ids = np.asarray(np.memmap(path, dtype_of(self.tokenizer), "r", shape=(1 + tokens,)))

    def _begin(self) -> None:
        """Begin to prepare the rest in the background."""
        self._thread = threading.Thread(target=self._prepare, daemon=True, name="prepare")
        self._thread.start()

    def _prepare(self) -> None:
        try:
            preparation = self._find_text()
            preparation.shown, preparation.check = False, self._check_closed
            self.place = preparation.place  # another one if another version of the code began
            preparation.whole()
        except Interrupted:
            pass
        except BaseException as error:
            self._error = error

    def _check_closed(self) -> None:
        if self._closed.is_set():
            raise Interrupted("the run has ended")

    def _wait(self, least: int) -> None:
        """Wait until ``least`` ids of the training split, or all, are on disk."""
        begun, announced = time.monotonic(), False
        while True:
            assert self._thread is not None
            running = self._thread.is_alive()
            self._look()
            if self._whole is not None or len(self._ids) >= least:
                return
            if self._error is not None:
                raise self._error
            assert running, "the preparation has ended without a result"
            signals.check("while it waited for its text to be tokenised")
            if not announced and time.monotonic() - begun > _PATIENCE:
                announced = True
                _say(f"data.stream=true: waiting until {least:,} tokens are prepared, {len(self._ids):,} are")
            for call in self.waiting:
                call()
            self._closed.wait(_POLL)

    def _find_text(self) -> Preparation:
        """Return the preparation. Raises ``UserError`` if the text is missing or has changed since the run started."""
        if self._preparation is None:
            preparation = _prepare(self._corpus, self._opening, self.tokenizer)
            inputs = {
                "corpus_fingerprint": preparation.fingerprint,
                "tokenizer_fingerprint": self.tokenizer.fingerprint(),
            }
            if streamed_fingerprint(inputs) != self.fingerprint:
                raise UserError(f"data={self.name}: its text has changed since the run started; restore it")
            self._preparation = preparation
        return self._preparation


def _prepare(corpus: Corpus, opening: Opening, tokenizer: Tokenizer) -> Preparation:
    """Return a preparation whose text is found. Raises ``UserError`` if it is missing or has changed."""
    corpus.check_same_text(opening)
    if not opening.began:  # a run of an earlier version may have had such options
        corpus.check()
    tokenizer.check()
    corpus.download = opening.download
    return Preparation(corpus, tokenizer, opening.cache, opening.corpora, opening.progress)


def open_streamed(corpus: Corpus, opening: Opening, tokens: int) -> StreamedCorpus:
    """Return ``corpus`` with its held-out splits and at least ``tokens`` tokens of its training split, or all.

    A run that has begun needs only the held-out splits to be opened.

    Raises:
        UserError: the tokenizer has to be fitted, or the text is missing, damaged or changed since the run started.
    """
    if not opening.tokenizer.fitted:
        raise UserError(
            f"data.stream=true: a tokenizer of class {type(opening.tokenizer).__name__} would first have to be fitted "
            "to the whole text (choose tokenizer=byte, pretrained or tiktoken, or data.stream=false)"
        )
    if opening.carry_state:
        raise UserError(
            "data.stream=true: not with batch.carry_state=true, which cuts the whole training split into stripes "
            "(choose data.stream=false)"
        )
    if opening.separate:
        raise UserError("data.stream=true: not with batch.documents=separate (choose packed, or data.stream=false)")
    if (recorded := opening.prepared) is not None:
        place = _find(recorded.fingerprint, recorded.caches, type(opening.tokenizer))
        if place is not None:
            return StreamedCorpus(place, corpus, opening)
    preparation = _prepare(corpus, opening, opening.tokenizer)
    preparation.begin(tokens)
    opened = StreamedCorpus(preparation.place, corpus, opening, preparation)
    opened.notes = corpus.notes
    return opened


def _find(fingerprint: str, caches: Iterable[Path], kind: type[Tokenizer]) -> Place | None:
    """Return the place of a corpus with that streamed fingerprint, complete ones first; ``None``: there is none."""
    for pattern in (f"[!.]*/{META}", f".*.tmp/{META}"):
        for cache in caches:
            for path in sorted(cache.glob(pattern)):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    place = Place(cache, path.parent.name.removeprefix(".").removesuffix(".tmp"))
                    if streamed_fingerprint(read_json(path)) != fingerprint:
                        continue
                    if path.parent == place.temporary or open_whole(place.folder, kind) is not None:
                        return place
    return None


def _folder_of(place: Place) -> Path:
    return place.folder if (place.folder / META).exists() else place.temporary


def _say(line: str) -> None:
    logging.getLogger("lmlab").warning(line)
    if get_rank() == 0:
        print(line, file=sys.stderr)
