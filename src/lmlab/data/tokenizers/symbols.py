"""The symbols of a generated task, shown as decimal numbers."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError


class Symbols(Tokenizer):
    """Ids 0 to size - 1 as the words ``0``, ``1``, ...; the separator is 0.

    Args:
        size: how many symbols there are; supplied by the task.
    """

    separator = 0

    def __init__(self, size: int | None = None) -> None:
        self._size = size

    @property
    def fitted(self) -> bool:
        return self._size is not None

    @property
    def size(self) -> int:
        assert self._size is not None
        return self._size

    def fit(self, documents: Iterable[str]) -> None:
        raise UserError("tokenizer=symbols: only for generated tasks; text needs bpe, byte, character or word")

    def encode(self, document: str) -> np.ndarray:
        ids = []
        for word in document.split():
            if not word.isdecimal() or int(word) >= self.size:
                raise UserError(f"'{word}' is no symbol of this task: expected numbers from 0 to {self.size - 1}")
            ids.append(int(word))
        return np.array(ids, np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return "".join(f"{int(token)} " for token in ids)

    def state(self) -> dict[str, Any]:
        return {"size": self._size}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Symbols":
        return cls(state["size"])
