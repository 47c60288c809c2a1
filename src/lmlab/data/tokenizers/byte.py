"""One token per byte."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer


class Byte(Tokenizer):
    """The 256 byte values of UTF-8; the separator is the line feed. Invalid UTF-8 decodes to U+FFFD."""

    fitted = True
    size = 256
    separator = ord("\n")

    def fit(self, documents: Iterable[str]) -> None:
        pass

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        return iter(chunks)

    def encode(self, document: str) -> np.ndarray:
        return np.frombuffer(document.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return np.asarray(ids).astype(np.uint8).tobytes().decode(errors="replace")

    def types(self) -> list[bytes]:
        return [bytes([value]) for value in range(self.size)]

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Byte":
        return cls()
