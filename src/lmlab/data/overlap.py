"""Overlap of scored examples with training text: equal examples, and long texts that the training text contains.

A text is counted as contained if at least 70 % of its sequences of 8 words occur in the training text (Chowdhery et al.
2022, "PaLM", section 8). Case and punctuation do not count. Shorter texts occur by chance; of them, only whole equal
examples are counted. Word sequences are compared by their hashes, 64 bits each: memory grows with the scored examples,
not with the training text, which is read once.

Dimension legend: N words, G word sequences.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

WORDS = 8
"""Words in a sequence."""

CONTAINED = 0.7
"""Share of a text's sequences that occur in the training text, from which on it is counted as contained."""

_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Overlap:
    """Counts which examples training text contains.

    Args:
        prompts: of the examples; sequences that more than half of several prompts have are those of their template,
            and are left out.
        references: right answers of each; an answer is contained if one of them is.
    """

    def __init__(self, prompts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        self._prompts = [_sequences(_words(prompt)) for prompt in prompts]
        if len(prompts) > 1:
            shared, counts = np.unique(_joined([np.unique(each) for each in self._prompts]), return_counts=True)
            shared = shared[counts > len(prompts) / 2]
            self._prompts = [each[~np.isin(each, shared)] for each in self._prompts]
        self._answers = [[_sequences(_words(text)) for text in texts] for texts in references]
        every = [*self._prompts, *(each for texts in self._answers for each in texts)]
        self._sequences = np.unique(_joined(every))
        self._occurs = np.zeros(len(self._sequences), bool)
        self._examples = [
            {_hash(_words(f"{prompt} {text}")) for text in texts}
            for prompt, texts in zip(prompts, references, strict=True)
        ]
        self._sought = set().union(*self._examples)
        self._equal: set[int] = set()

    def read(
        self, texts: Iterable[str], most: int | None = None, advance: Callable[[int], None] = lambda characters: None
    ) -> bool:
        """Search training texts, which may continue one another; return whether all were searched.

        Args:
            most: stop after that many characters; ``None``: search all.
            advance: called with the number of characters in each text.
        """
        before, characters = np.empty(0, np.uint64), 0
        for text in texts:
            if most is not None and characters >= most:
                return False
            characters += len(text)
            words_N = _words(text)
            if (whole := _hash(words_N)) in self._sought:
                self._equal.add(whole)
            words_N = np.concatenate([before, words_N])
            sequences_G = _sequences(words_N)
            before = words_N[len(words_N) - min(len(words_N), WORDS - 1) :]
            if len(self._sequences) and len(sequences_G):
                places_G = np.searchsorted(self._sequences, sequences_G).clip(max=len(self._sequences) - 1)
                self._occurs[places_G[self._sequences[places_G] == sequences_G]] = True
            advance(len(text))
        return True

    def counts(self) -> dict[str, Any]:
        """Return how many examples there are, are equal to training examples, or have long texts that occur there."""
        long_prompts = [each for each in self._prompts if len(each)]
        long_answers = [kept for texts in self._answers if (kept := [each for each in texts if len(each)])]
        return {
            "examples": len(self._examples),
            "equal": sum(bool(own & self._equal) for own in self._examples),
            "long_prompts": len(long_prompts),
            "prompts": sum(map(self._is_contained, long_prompts)),
            "long_answers": len(long_answers),
            "answers": sum(any(map(self._is_contained, texts)) for texts in long_answers),
        }

    def _is_contained(self, sequences_G: np.ndarray) -> bool:
        return bool(self._occurs[np.searchsorted(self._sequences, sequences_G)].mean() >= CONTAINED)


def _words(text: str) -> np.ndarray:
    """Return a hash of each word [N] uint64; the same within this process."""
    return np.fromiter(map(hash, _WORD.findall(text.lower())), np.int64).view(np.uint64)


def _sequences(words_N: np.ndarray) -> np.ndarray:
    """Return a hash [G] uint64 of each sequence of :data:`WORDS` words."""
    number = max(0, len(words_N) - WORDS + 1)
    hashes_G = np.zeros(number, np.uint64)
    for place in range(WORDS):
        hashes_G = hashes_G * _BASE + words_N[place : place + number]
    return hashes_G


def _hash(words_N: np.ndarray) -> int:
    return hash(words_N.tobytes())


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.uint64), *parts])
