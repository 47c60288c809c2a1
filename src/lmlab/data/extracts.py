"""Extracts: words in a row of a text, to which a generated answer can be restricted."""

import re
from collections.abc import Sequence

import numpy as np

from lmlab.data.tokenizers import Tokenizer

_BEGIN = re.compile(r"\b(?=\w)|(?<!\S)(?=\S)")
_END = re.compile(r"(?<=\w)\b|(?<=\S)(?!\S)")
"""The end of a word: of letters and digits, or of all characters between white space."""

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class Extracts:
    """The extracts of a text: words in a row of one of its lines, with or without the punctuation around them.

    Args:
        text: white space in it counts as one space.
        end: the token after an extract.
        length: most tokens of an extract, without ``end``.
        prefix: text before an extract, like the space before an answer that continues its prompt.

    Attributes:
        texts: the extracts in order. Those whose end is inside a token are left out.
    """

    def __init__(self, tokenizer: Tokenizer, text: str, end: int, length: int, prefix: str = "") -> None:
        self.texts: list[str] = []
        self._end = end
        self._next: dict[tuple[int, ...], set[int]] = {}
        for line in (" ".join(line.split()) for line in text.splitlines()):
            ends = {match.start() for match in _END.finditer(line)}
            for begin in (match.start() for match in _BEGIN.finditer(line)):
                words = line[begin:].split(" ", length)[:length]  # no token is more than a word
                tokens = tuple(tokenizer.encode_prompt(prefix + " ".join(words))[:length].tolist())
                last = 0
                for size in range(1, len(tokens) + 1):
                    extract = tokenizer.decode(np.array(tokens[:size])).lstrip()
                    is_part = line.startswith(extract, begin)  # unless the tokenizer has no sign for a part of it
                    if extract.endswith((_INCOMPLETE, " ")) or (is_part and begin + len(extract) not in ends):
                        continue
                    last = size
                    self.texts.append(extract)
                    self._next.setdefault(tokens[:size], set()).add(end)
                for size in range(last):
                    self._next.setdefault(tokens[:size], set()).add(tokens[size])

    def following(self, tokens: Sequence[int]) -> set[int]:
        """Return the tokens that may follow the first ``tokens`` of an extract; of a text without words, ``end``."""
        return self._next.get(tuple(tokens), {self._end})
