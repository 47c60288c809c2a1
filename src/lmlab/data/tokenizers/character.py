"""One token per Unicode character of the training text."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer


class Character(Tokenizer):
    """The distinct characters of the training split, in code point order.

    The separator is the line feed, or the first character where the text has none. No type is reserved for characters
    that the training split lacks: they are read as the separator, and :meth:`unknown` counts them.
    """

    unit = "character"
    reversible = False

    def __init__(self) -> None:
        self._points = np.empty(0, np.uint32)  # code points of the types, ascending

    @property
    def fitted(self) -> bool:
        return self._points.size > 0

    @property
    def size(self) -> int:
        return self._points.size

    @property
    def separator(self) -> int:
        newline = np.flatnonzero(self._points == ord("\n"))
        return int(newline[0]) if newline.size else 0

    def fit(self, documents: Iterable[str]) -> None:
        characters: set[str] = set()
        for document in documents:
            characters |= set(document)
        self._points = _code_points("".join(sorted(characters)))

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        return iter(chunks)

    def encode(self, document: str) -> np.ndarray:
        ids, in_vocabulary = self._look_up(document)
        return np.where(in_vocabulary, ids, self.separator).astype(np.int32)

    def outside(self, document: str) -> list[str]:
        _, is_known = self._look_up(document)
        return [document[place] for place in np.flatnonzero(~is_known)]

    def _look_up(self, document: str) -> tuple[np.ndarray, np.ndarray]:
        points = _code_points(document)
        ids = np.searchsorted(self._points, points).clip(max=self.size - 1)
        return ids, self._points[ids] == points

    def decode(self, ids: np.ndarray) -> str:
        return self._points[np.asarray(ids, np.int64)].astype("<u4").tobytes().decode("utf-32-le")

    def state(self) -> dict[str, Any]:
        return {"characters": self.decode(np.arange(self.size))}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Character":
        tokenizer = cls()
        tokenizer._points = _code_points(state["characters"])
        return tokenizer


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
