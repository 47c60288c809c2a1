"""Tokenizers whose types are the 256 bytes and strings of bytes, as the ``tokenizers`` library and GPT-2 have them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lmlab.data.tokenizers import cutting
from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError

if TYPE_CHECKING:
    import tokenizers
    from tokenizers import pre_tokenizers

BYTES = 256
LONGEST_SEGMENT = 512
"""Bytes of the longest segment: the time to find types grows faster than the length of a segment."""


class ByteLevel(Tokenizer):
    """The base class of tokenizers of bytes that find further types within the words of the training text.

    Any text is encoded and decodes to itself. The same training text gives the same types: the 256 bytes, then the
    others; the last id is the separator, which does not occur in encoded texts. A segment of more than 512 bytes, as in
    DNA or base64, is divided after every 512. Types are found in an even sample of a text of more than 64 MiB, or of
    millions of characters in different words.

    Args:
        size: number of types, separator included.

    Attributes:
        saved: name of the list in :meth:`state` that the model is built from.

    Raises:
        UserError: ``size`` is below 257.
    """

    fitted_to_sample = True
    saved: ClassVar[str]

    def __init__(self, size: int = 4096) -> None:
        if size <= BYTES:
            raise UserError(f"tokenizer.size={size}: expected at least {BYTES + 1} types: the bytes and a separator")
        self._size = size
        self._parts: list[Any] | None = None
        self._model: tokenizers.Tokenizer | None = None

    @abstractmethod
    def model(self, parts: list[Any]) -> "tokenizers.Tokenizer":
        """Return the library's model of what fitting found: the list that is saved."""

    def _build(self, parts: list[Any]) -> None:
        self._parts, self._model = parts, self.model(parts)

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

    def encode(self, document: str) -> np.ndarray:
        return cutting.encoded([document], self.pieces, self._ids)[0]

    def encode_all(self, documents: Iterable[str]) -> Iterator[np.ndarray]:
        # The library uses all cores for a batch; the next one is read in the meantime.
        return cutting.encode_all(documents, self.pieces, self._ids, threads=1)

    def _ids(self, texts: list[str]) -> Iterator[Sequence[int]]:
        assert self._model is not None
        return (one.ids for one in self._model.encode_batch_fast(texts))

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        return cutting.pieces(chunks, cutting.BEFORE_WORD)

    def decode(self, ids: np.ndarray) -> str:
        types = [*self._types, b"\n"]
        return b"".join(types[id] for id in np.asarray(ids).tolist()).decode(errors="replace")

    def types(self) -> list[bytes]:
        return [*self._types, b""]

    @cached_property
    def _types(self) -> list[bytes]:
        assert self._model is not None
        byte_of = bytes_of_symbols()
        symbols = (self._model.id_to_token(id) or "" for id in range(self.separator))
        return [bytes(byte_of[sign] for sign in symbol) for symbol in symbols]

    def state(self) -> dict[str, Any]:
        return {"size": self._size, self.saved: self._parts}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        tokenizer = cls(state["size"])
        if (parts := state[cls.saved]) is not None:
            tokenizer._build(parts)
        return tokenizer


@cache
def bytes_of_symbols() -> dict[str, int]:
    """Return the byte for each symbol of the alphabet: visible characters in which the library writes any bytes.

    Visible characters of Latin-1 stand for their own byte; the signs after Latin-1 for the other bytes in turn.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sorted(set(range(BYTES)) - set(visible))
    return {chr(byte): byte for byte in visible} | {chr(BYTES + n): byte for n, byte in enumerate(others)}


def segments() -> "pre_tokenizers.PreTokenizer":
    """Return GPT-2's segmentation of a text into words of these symbols, divided after every 512."""
    from tokenizers import pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(LONGEST_SEGMENT)])
