"""Byte-level byte-pair encoding, trained by the ``tokenizers`` library."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lmlab.data.tokenizers.threads import available_cores, in_threads
from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError
from lmlab.processes.signals import in_background

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

_BYTES = 256
_PIECE = 1 << 14  # characters after which a document is cut, so that all cores have something to do
_LONGEST_PIECE = 1 << 17  # characters after which it is cut even where that divides a segment
_BATCH = 1 << 19  # characters that are encoded at a time
_LONGEST_SEGMENT = 512  # bytes: the library's time to find merges grows with the square of a segment's length
# Segmentation is the same with a cut here as without: white space before a word is a segment of its own but for its
# last character, and that one begins a segment, as a line feed by itself or as a space together with the word.
_BOUNDARY = re.compile(r"[ \n](?=\w)")


class BPE(Tokenizer):
    """Byte-pair encoding (Sennrich et al. 2016) of UTF-8 bytes, with GPT-2's segmentation into words.

    A segment of more than 512 bytes, as in DNA or base64, is divided after every 512. Any text is encoded and decodes
    to itself. The same training text gives the same merges. Types are the 256 bytes, then merges in the order in which
    they were found; the last id is the separator, which does not occur in encoded texts. Merges are found in an even
    sample of a text of more than 64 MiB, or of millions of characters in different words.

    Args:
        size: number of types, separator included.

    Raises:
        UserError: ``size`` is below 257.
    """

    def __init__(self, size: int = 4096) -> None:
        if size <= _BYTES:
            raise UserError(f"tokenizer.size={size}: expected at least {_BYTES + 1} types: the bytes and a separator")
        self._size = size
        self._merges: list[list[str]] = []
        self._model: tokenizers.Tokenizer | None = None

    fitted_to_sample = True

    @property
    def fitted(self) -> bool:
        return self._model is not None

    @property
    def size(self) -> int:
        return self._size

    @property
    def separator(self) -> int:
        return self._size - 1

    @property
    def end_of_document(self) -> int:
        return self.separator

    def fit(self, documents: Iterable[str]) -> None:
        from tokenizers import pre_tokenizers, trainers

        trainer = trainers.BpeTrainer(
            vocab_size=self._size - 1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        model = _model([])
        texts = (piece for document in documents for piece in self.pieces([document]))
        in_background(lambda texts: model.train_from_iterator(texts, trainer), texts)
        supported = model.get_vocab_size() + 1
        if supported < self._size:
            raise UserError(f"tokenizer.size={self._size}: the training text supports no more than {supported} types")
        self._build(json.loads(model.to_str())["model"]["merges"])

    def _build(self, merges: list[list[str]]) -> None:
        self._merges = merges
        self._model = _model(merges)

    def encode(self, document: str) -> np.ndarray:
        return self._encode_batch(None, [document])[0]

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        assert self._model is not None
        fast = _tiktoken(self._model, len(self._merges))
        encode = partial(self._encode_batch, fast)
        # The library uses all cores for a batch; the next one is read in the meantime. tiktoken uses one.
        threads = 1 if fast is None else available_cores()
        for batch in in_threads(encode, _batches(documents), threads):
            yield from batch

    def _encode_batch(self, fast: "tiktoken.Encoding | None", documents: list[str]) -> list[np.ndarray]:
        """Return the ids of each document: those of tiktoken, which is faster, for pieces without long segments."""
        assert self._model is not None
        pieces_of = [list(self.pieces([document])) for document in documents]
        pieces = [piece for group in pieces_of for piece in group]
        short = [fast is not None and _has_short_segments(piece) for piece in pieces]
        rest = [piece for piece, is_short in zip(pieces, short, strict=True) if not is_short]
        encodings = iter(self._model.encode_batch_fast(rest) if rest else ())
        parts = (
            fast.encode_to_numpy(piece, disallowed_special=()).astype(np.int32)
            if fast is not None and is_short
            else np.array(next(encodings).ids, np.int32)
            for piece, is_short in zip(pieces, short, strict=True)
        )
        return [np.concatenate([np.empty(0, np.int32), *islice(parts, len(group))]) for group in pieces_of]

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        rest = ""
        for chunk in chunks:
            rest += chunk
            begin = 0
            while (end := _cut(rest, begin)) is not None:
                yield rest[begin:end]
                begin = end
            rest = rest[begin:]
        if rest:
            yield rest

    def decode(self, ids: np.ndarray) -> str:
        assert self._model is not None
        ids = np.asarray(ids)
        texts = np.split(ids, np.flatnonzero(ids == self.separator))
        first, *rest = (self._model.decode(text[text != self.separator].tolist()) for text in texts)
        return "\n".join([first, *rest])

    def types(self) -> list[bytes]:
        assert self._model is not None
        byte_of = _bytes_of_symbols()
        symbols = (self._model.id_to_token(id) for id in range(self.separator))
        return [*(bytes(byte_of[sign] for sign in symbol or "") for symbol in symbols), b""]

    def state(self) -> dict[str, Any]:
        return {"size": self._size, "merges": self._merges if self.fitted else None}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "BPE":
        tokenizer = cls(state["size"])
        if state["merges"] is not None:
            tokenizer._build(state["merges"])
        return tokenizer


def _cut(text: str, begin: int) -> int | None:
    """Return where the piece that begins at ``begin`` ends; ``None``: not in the text so far."""
    longest = begin + _LONGEST_PIECE
    if boundary := _BOUNDARY.search(text, begin + _PIECE, longest + 1):
        return boundary.start()
    return longest if longest < len(text) else None


_GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
"""GPT-2's segmentation in the notation of tiktoken."""


def _tiktoken(model: "tokenizers.Tokenizer", merges: int) -> "tiktoken.Encoding | None":
    """Return the same encoding in the tiktoken library; ``None``: it is not installed, or cannot represent it.

    It merges any two parts that together are a type, in the order of ids. The result is the same for merges that were
    found in a text, unless two of them make the same type.

    Args:
        merges: number of merges of ``model``.
    """
    try:
        import tiktoken
    except ImportError:
        return None
    byte_of = _bytes_of_symbols()
    ranks = {bytes(byte_of[sign] for sign in symbol): id for symbol, id in model.get_vocab().items()}
    if len(ranks) != _BYTES + merges:
        return None
    return tiktoken.Encoding("merges", pat_str=_GPT2, mergeable_ranks=ranks, special_tokens={})


_BLOCK = _LONGEST_SEGMENT // 2
_IS_SPACE = np.isin(np.arange(_BYTES), [ord(" "), ord("\n")])
_IS_VISIBLE = np.isin(np.arange(_BYTES), np.arange(ord("!"), ord("~") + 1))


def _has_short_segments(text: str) -> bool:
    """Return whether each 256 bytes, from a multiple of 256, hold a space or line end and a visible ASCII character.

    Then no segment has more than 512 bytes: apart from a leading space, it is of one kind, so it would fill a block.
    """
    content = np.frombuffer(text.encode(), np.uint8)
    blocks = content[: len(content) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    return bool(_IS_SPACE[blocks].any(1).all() and _IS_VISIBLE[blocks].any(1).all())


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


def _bytes_of_symbols() -> dict[str, int]:
    """Return the byte for each symbol of the library's alphabet.

    Visible characters of Latin-1 stand for their own byte; the signs after Latin-1 for the other bytes in turn.
    """
    from tokenizers import pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = {sign: ord(sign) for sign in signs if ord(sign) < _BYTES}
    others = sorted(set(range(_BYTES)) - set(own.values()))
    return own | dict(zip(signs[len(own) :], others, strict=True))


def _model(merges: list[list[str]]) -> "tokenizers.Tokenizer":
    """Return the library's tokenizer with these merges, whose ids follow from their order."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary: dict[str, int] = {}
    for symbol in [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]:
        vocabulary.setdefault(symbol, len(vocabulary))
    model = Tokenizer(models.BPE(vocab=vocabulary, merges=[(left, right) for left, right in merges]))
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.FixedLength(_LONGEST_SEGMENT)]
    )
    model.decoder = decoders.ByteLevel()
    return model
