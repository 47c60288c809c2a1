"""One token per symbol of a generated task."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError


class Symbols(Tokenizer):
    """Symbols without a meaning of their own, written as decimal numbers: ``12 5 7``.

    No symbol is a line end, so the separator, the context of the first symbol, is 0.

    Args:
        size: number of types; ``None``: that of the task.

    Raises:
        UserError: ``size`` is below 1.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < 1:
            raise UserError(f"tokenizer.size={size}: expected at least 1, or null for as many as the task has")
        self._size = size

    @property
    def fitted(self) -> bool:
        return self._size is not None

    @property
    def size(self) -> int:
        return self._size or 0

    separator = 0

    def fit(self, documents: Iterable[str]) -> None:
        """Set the size, if there is none yet, to one more than the greatest symbol."""
        if self._size is None:
            words = {word for document in documents for word in document.split()}
            self._size = 1 + max((_number(word, None) for word in words), default=0)

    def encode(self, document: str) -> np.ndarray:
        """Return the ids [N] int32 of a text.

        Raises:
            UserError: a word is not a symbol.
        """
        words = document.split()
        return np.fromiter((_number(word, self.size) for word in words), np.int32, len(words))

    def decode(self, ids: np.ndarray) -> str:
        return " ".join(map(str, np.asarray(ids).tolist()))

    def state(self) -> dict[str, Any]:
        return {"size": self._size}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Symbols":
        return cls(state["size"])


def _number(word: str, size: int | None) -> int:
    """Return the symbol of a word. Raises ``UserError`` if it is not one of the first ``size``."""
    digits = word.isascii() and word.isdecimal() and len(word) <= 9
    if not digits or (size is not None and int(word) >= size):
        expected = "a decimal number" if size is None else f"one of the numbers 0 to {size - 1}"
        raise UserError(f"'{word[:20]}' is not a symbol: expected {expected}, with spaces between them")
    return int(word)
