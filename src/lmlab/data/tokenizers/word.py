"""One token per word between white space, and one per line end."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lmlab.data.tokenizers.tokenizer import Tokenizer
from lmlab.errors import UserError

UNKNOWN, END = "<unk>", "<eos>"
_PART = 1 << 16  # characters that are split into words at a time
_MOST_WORDS = 1_000_000  # different words that are counted at a time
_SPACE = re.compile(r"\s")


class Word(Tokenizer):
    """Words between white space, with ``<eos>`` at the end of each line: the recipe of Mikolov et al. 2010.

    Types are ``<unk>``, ``<eos>``, then words by falling frequency in the training split. White space between words
    is not preserved: decoding inserts one space. ``<eos>`` is the separator too. In a text of more than a million
    different words, those that are rare where that number is reached are not counted.

    Args:
        size: number of types to keep at most, ``<unk>`` and ``<eos>`` included; ``None`` keeps every word.

    Raises:
        UserError: ``size`` leaves no room for a word.
    """

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < 3:
            raise UserError(f"tokenizer.size={size}: expected at least 3 types ({UNKNOWN}, {END} and a word), or null")
        self._limit = size
        self._words: list[str] = []
        self._ids: dict[str, int] = {}

    @property
    def fitted(self) -> bool:
        return bool(self._words)

    @property
    def size(self) -> int:
        return len(self._words)

    separator = 1
    unit = "word"
    reversible = False

    def fit(self, documents: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        rare = 0
        for document in documents:
            counts.update(_words(document))
            while len(counts) > _MOST_WORDS:
                rare += 1
                counts = Counter({word: count for word, count in counts.items() if count > rare})
        del counts[UNKNOWN], counts[END]
        by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
        self._keep([UNKNOWN, END, *by_frequency][: self._limit])

    def _keep(self, words: list[str]) -> None:
        self._words = words
        self._ids = {word: id for id, word in enumerate(words)}

    def encode(self, document: str) -> np.ndarray:
        return np.fromiter((self._ids.get(word, 0) for word in _words(document)), np.int32)

    def pieces(self, chunks: Iterable[str]) -> Iterator[str]:
        begun: list[str] = []  # a line whose end has not come yet
        for chunk in chunks:
            whole, end, rest = chunk.rpartition("\n")
            if end:
                yield "".join([*begun, whole, end])
                begun = []
            begun.append(rest)
        if last := "".join(begun):
            yield last

    def encode_prompt(self, prompt: str) -> np.ndarray:
        ids = self.encode(prompt)
        return ids if prompt.endswith("\n") else ids[:-1]

    def outside(self, document: str) -> list[str]:
        """Return the words outside the vocabulary; a literal ``<unk>`` in the text is in the vocabulary."""
        return [word for word in _words(document) if word not in self._ids]

    def decode(self, ids: np.ndarray) -> str:
        words = ["\n" if id == self.separator else self._words[id] for id in ids]
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")

    def state(self) -> dict[str, Any]:
        return {"size": self._limit, "words": self._words}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Word":
        tokenizer = cls(state["size"])
        tokenizer._keep(state["words"])
        return tokenizer


def _words(document: str) -> Iterator[str]:
    """Yield the words of a text, a part at a time so that those of a long one are not in memory together."""
    begin = 0
    while begin < len(document):
        space = _SPACE.search(document, begin + _PART)
        end = space.end() if space else len(document)
        yield from document[begin:end].replace("\n", f" {END} ").split()
        begin = end
    if document and not document.endswith("\n"):
        yield END
